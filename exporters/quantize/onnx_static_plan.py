"""Which tensors of an ONNX graph become integers, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .onnx_graph import Graph, Node, options
from .onnx_units import Unit, following_activation
from .recipe import Scheme

#: Operators that ONNX Runtime's CPU provider computes with integers between DequantizeLinear and
#: QuantizeLinear, and which of their inputs are activations (None: all).
COMPUTING: Mapping[str, tuple[int, ...] | None] = {
    "Add": None,
    "Mul": None,
    "Concat": None,
    "Where": (1, 2),
    "AveragePool": (0,),
    "GlobalAveragePool": (0,),
    "LeakyRelu": (0,),
    "Sigmoid": (0,),
    "Softmax": (0,),
}

#: Operators that only move values about: it computes them on integers where scale and zero point
#: are the same before and behind.
MOVING = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "MaxPool",
        "ReduceMax",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

#: Ranges that are known without looking.
_RANGES = {"Softmax": (0.0, 1.0), "Sigmoid": (0.0, 1.0)}


@dataclass(frozen=True)
class Held:
    """A tensor that becomes integers.

    Attributes:
        scheme: whose activations it has: of all that compute or read it one with most bits.
        is_computed: whether what computes it does so with integers, and hence has to give them to
            all; otherwise those that stay float read it as it was.
        root: the tensor whose range it has.
    """

    scheme: Scheme
    is_computed: bool
    root: str


@dataclass(frozen=True)
class Clipping:
    """An activation that rounding to integers can take the place of."""

    node: Node
    bounds: tuple[float, float]


@dataclass
class Plan:
    """What becomes integers.

    Attributes:
        held: by tensor.
        readers: for each tensor (or constant) who takes it as integers: node and place among its
            inputs, and its scheme.
        units: the products with constant weights, by node.
        clippings: by the node whose output alone they read.
        ranges: those that need no statistics, by tensor.
    """

    held: dict[str, Held] = field(default_factory=dict)
    readers: dict[str, dict[tuple[str, int], Scheme]] = field(default_factory=dict)
    units: dict[str, tuple[Unit, Scheme]] = field(default_factory=dict)
    clippings: dict[str, Clipping] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


def plan_static(graph: Graph, chosen: Mapping[str, Scheme], units: Mapping[str, Unit]) -> Plan:
    """What the nodes of `chosen` read and compute.

    Convolutions and the operators of `COMPUTING` give integers, or they would be computed with
    floats. So do matrix products with an activation behind them; others give floats just as well,
    and integers to those who want them. A tensor between operators of 8 and of 16 bits has 16, or
    asking for them would change nothing.

    Args:
        chosen: static schemes, by node.
        units: products by their first node; those that follow it take no scheme of their own.
    """
    return _Planner(graph, chosen, units).plan


class _Planner:
    def __init__(
        self, graph: Graph, chosen: Mapping[str, Scheme], units: Mapping[str, Unit]
    ) -> None:
        self.plan = Plan()
        self._graph = graph
        self._chosen = chosen
        self._consumers = graph.consumers()
        self._computed: dict[str, Scheme] = {}
        self._roots: dict[str, str] = {}
        self._done = {node.name for unit in units.values() for node in unit.followers}
        for node in graph.nodes:
            scheme = chosen.get(node.name)
            if scheme is None or node.name in self._done or node.domain:
                continue
            if node.name in units:
                self._add_unit(units[node.name], scheme)
            elif node.op_type == "MatMul":
                self._read(node, (0, 1), scheme)
            elif node.op_type in COMPUTING:
                self._add_computing(node, scheme)
            elif node.op_type in MOVING:
                self._add_moving(node, scheme)
        self._settle()

    def _add_unit(self, unit: Unit, scheme: Scheme) -> None:
        node = unit.node
        if not self._graph.is_float(unit.input):
            return
        self._read(node, (0,), scheme)
        self.plan.units[node.name] = (unit, scheme)
        if node.op_type == "Conv" or unit.activation is not None:
            self._computed[unit.output] = scheme
        if unit.activation is not None:
            last = unit.bias_node or node
            self.plan.clippings[last.name] = Clipping(unit.activation, unit.bounds)

    def _add_computing(self, node: Node, scheme: Scheme) -> None:
        places = COMPUTING[node.op_type] or tuple(range(len(node.input)))
        output = node.output[0]
        if not self._graph.is_float(output) or not self._read(node, places, scheme):
            return
        if node.op_type in _RANGES:
            self.plan.ranges[output] = _RANGES[node.op_type]
        behind = following_activation(self._graph, output, self._consumers)
        if behind is not None and self._chosen.get(behind[0].name) is not None:
            self.plan.clippings[node.name] = Clipping(*behind)
            self._done.add(behind[0].name)
            output = behind[0].output[0]
        self._computed[output] = scheme

    def _add_moving(self, node: Node, scheme: Scheme) -> None:
        source = node.input[0]
        if source not in self._computed or options(node).get("mode", b"nearest") != b"nearest":
            return
        self._read(node, (0,), scheme)
        for output in node.output:
            self._computed[output] = scheme
            self._roots[output] = self._roots.get(source, source)

    def _read(self, node: Node, places: tuple[int, ...], scheme: Scheme) -> bool:
        """Notes the inputs that a node takes as integers; none of them unless all can be."""
        names = [node.input[place] for place in places]
        if not all(map(self._graph.is_float_or_constant, names)):
            return False
        for name, place in zip(names, places, strict=True):
            self.plan.readers.setdefault(name, {})[node.name, place] = scheme
        return True

    def _settle(self) -> None:
        groups: dict[str, list[Scheme]] = {}
        names = [n for n in self.plan.readers if self._graph.constant(n) is None]
        names = list(dict.fromkeys((*self._computed, *names)))
        for name in names:
            schemes = groups.setdefault(self._roots.get(name, name), [])
            schemes += [self._computed[name]] if name in self._computed else []
            schemes += self.plan.readers.get(name, {}).values()
        for name in names:
            root = self._roots.get(name, name)
            # `max` takes the first of equals: that of the node that computes it.
            widest = max(groups[root], key=lambda scheme: scheme.activations == "int16")
            self.plan.held[name] = Held(widest, name in self._computed, root)
