"""QuantizeLinear and DequantizeLinear around what ONNX Runtime is to compute with integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from .grid import Floats, Grid, Integers
from .onnx_bias import integer_bias, keep_float
from .onnx_graph import Graph, Node
from .onnx_static_plan import Clipping, plan_static
from .onnx_units import Unit
from .onnx_weights import WeightStore
from .recipe import Scheme
from .statistics import Statistics

#: Bits, signedness, and the types in the file and in NumPy.
_ACTIVATIONS = {
    "int8": (8, True, TensorProto.INT8, np.int8),
    "uint8": (8, False, TensorProto.UINT8, np.uint8),
    "int16": (16, True, TensorProto.INT16, np.int16),
}

#: Biases are kept within this, so that what kernels add to them still fits int32.
_LARGEST_BIAS = 1 << 30


@dataclass(frozen=True)
class Parameters:
    """Scale and zero point, and the names of the constants that hold them."""

    kind: str
    scale: Floats
    zero_point: Integers
    scale_name: str
    zero_point_name: str

    @property
    def bits(self) -> int:
        return _ACTIVATIONS[self.kind][0]

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest real that the type stands for."""
        bits, signed, _, _ = _ACTIVATIONS[self.kind]
        ends = Grid(bits, signed, symmetric=False)
        low = (ends.lowest - int(self.zero_point)) * float(self.scale)
        return low, (ends.highest - int(self.zero_point)) * float(self.scale)


def quantize_static(
    graph: Graph,
    chosen: Mapping[str, Scheme],
    units: Mapping[str, Unit],
    statistics: Statistics,
    store: WeightStore,
) -> None:
    """Quantizes nodes and what lies between them.

    Args:
        chosen: schemes by node.
        units: products with constant weights, by node.

    Raises:
        UsageError: the statistics lack a tensor.
    """
    _Writer(graph, chosen, units, statistics, store).write()


class _Writer:
    def __init__(
        self,
        graph: Graph,
        chosen: Mapping[str, Scheme],
        units: Mapping[str, Unit],
        statistics: Statistics,
        store: WeightStore,
    ) -> None:
        self._graph = graph
        self._plan = plan_static(graph, chosen, units)
        self._statistics = statistics
        self._store = store
        self._consumers = graph.consumers()
        self._parameters: dict[object, Parameters] = {}
        #: What a node reads in place of a tensor, and with which parameters that was made.
        self._reads: dict[tuple[str, int], tuple[str, Parameters]] = {}
        self._dropped: set[str] = set()
        self._nodes: list[Node] = []

    def write(self) -> None:
        """Goes through the graph once, in its order."""
        for name in self._graph.inputs:
            self._nodes += self._pair(name, None)
        for node in self._graph.nodes:
            if node.name in self._dropped:
                continue
            for place, name in enumerate(node.input):
                if (node.name, place) in self._plan.readers.get(name, {}):
                    self._read_constant(node, place)
                if (node.name, place) in self._reads:
                    node.input[place] = self._reads[node.name, place][0]
            if node.name in self._plan.units:
                self._write_weights(*self._plan.units[node.name])
            elif (node.name, 0) in self._reads:
                keep_float(self._graph, node)
            self._nodes.append(node)
            if node.name in self._plan.clippings:
                self._clip(node, self._plan.clippings[node.name])
            for name in list(node.output):
                self._nodes += self._pair(name, node)
        self._graph.nodes = self._nodes

    def _pair(self, name: str, producer: Node | None) -> list[Node]:
        """QuantizeLinear and DequantizeLinear for a tensor, and who reads what they give."""
        held = self._plan.held.get(name)
        if held is None:
            return []
        source, output = name, self._graph.name(f"{name}_DequantizeLinear_Output")
        if held.is_computed and name in self._graph.outputs | self._graph.inner_reads:
            assert producer is not None  # these know the tensor by its name only
            source, output = self._graph.name(f"{name}_float"), name
            producer.output[list(producer.output).index(name)] = source
        parameters = self._parameters_of(held.root, held.scheme)
        nodes = self._quantized(name, source, output, parameters)
        readers = self._plan.readers.get(name, {})
        for node, place in self._consumers.get(name, []):
            scheme = readers.get((node.name, place))
            if scheme is None:
                if held.is_computed:
                    self._reads[node.name, place] = (output, parameters)
            elif _differ(scheme.activations, parameters.kind):
                wanted = self._parameters_of(held.root, scheme)
                other = self._graph.name(f"{name}_{scheme.activations}")
                start = output if held.is_computed else name
                nodes += self._quantized(f"{name}_{scheme.activations}", start, other, wanted)
                self._reads[node.name, place] = (other, wanted)
            else:
                self._reads[node.name, place] = (output, parameters)
        return nodes

    def _quantized(
        self, title: str, source: str, output: str, parameters: Parameters
    ) -> list[Node]:
        integers = self._graph.name(f"{title}_QuantizeLinear_Output")
        self._graph.declare_float(output, self._graph.shape(source))
        rest = [parameters.scale_name, parameters.zero_point_name]
        domain = self._graph.quantization_domain(_ACTIVATIONS[parameters.kind][2])
        return [
            helper.make_node(kind, [start, *rest], [end], self._graph.name(name), domain=domain)
            for kind, start, end, name in (
                ("QuantizeLinear", source, integers, f"{title}_QuantizeLinear"),
                ("DequantizeLinear", integers, output, f"{title}_DequantizeLinear"),
            )
        ]

    def _clip(self, node: Node, clipping: Clipping) -> None:
        """Leaves an activation out where the integers behind it reach no further than it lets."""
        inner, output = node.output[0], clipping.node.output[0]
        held = self._plan.held[output]
        parameters = self._parameters_of(held.root, held.scheme)
        slack = float(parameters.scale) / 2
        low, high = parameters.limits
        is_same = low >= clipping.bounds[0] - slack and high <= clipping.bounds[1] + slack
        if is_same:
            node.output[0] = output
            self._dropped.add(clipping.node.name)
        else:
            between = self._graph.name(f"{inner}_DequantizeLinear_Output")
            self._nodes += self._quantized(inner, inner, between, parameters)
            self._reads[clipping.node.name, 0] = (between, parameters)

    def _write_weights(self, unit: Unit, scheme: Scheme) -> None:
        node = unit.node
        entry = self._reads[node.name, 0][1]
        if unit.bias is None:
            made = self._store.quantized(unit, scheme)
        else:
            values = self._graph.float_constant(unit.bias)
            assert values is not None
            bias = values.ravel()
            made = self._store.quantized(unit, scheme, lambda s: _fitting(s, entry, bias))
            scale = (entry.scale * made.scale).astype(np.float32)
            scale = scale if scheme.granularity == "per-channel" else scale.reshape(())
            integers = integer_bias(self._graph, unit.bias, bias, scale)
            # ONNX Runtime puts MatMul and Add together, and takes a bias of integers only.
            holder = unit.bias_node or node
            holder.input[list(holder.input).index(unit.bias)] = integers
        node.input[1] = self._store.dequantized(unit, scheme, made)

    def _read_constant(self, node: Node, place: int) -> None:
        """A constant beside activations, with the least range that holds it."""
        name = node.input[place]
        values = self._graph.float_constant(name)
        if values is None:
            return
        scheme = self._plan.readers[name][node.name, place]
        grid, (_, _, data_type, kind) = _grid(scheme), _ACTIVATIONS[scheme.activations]
        scale, zero_point = grid.parameters(values.min(initial=0), values.max(initial=0))
        inputs = [
            self._graph.add(
                grid.quantize(values, scale, zero_point).astype(kind), f"{name}_{kind.__name__}"
            ),
            self._graph.add(scale, f"{name}_scale"),
            self._graph.add(zero_point.astype(kind), f"{name}_zero_point"),
        ]
        output = self._graph.name(f"{name}_DequantizeLinear_Output")
        title = self._graph.name(f"{name}_DequantizeLinear")
        domain = self._graph.quantization_domain(data_type)
        self._graph.prelude.append(
            helper.make_node("DequantizeLinear", inputs, [output], title, domain=domain)
        )
        node.input[place] = output

    def _parameters_of(self, root: str, scheme: Scheme) -> Parameters:
        grid = _grid(scheme)
        key = (root, grid, scheme.ranges)
        if key not in self._parameters:
            assert scheme.ranges is not None
            known = self._plan.ranges.get(root)
            low, high = known or self._statistics.range(root, grid, scheme.ranges)
            scale, zero_point = grid.parameters(low, high)
            kind = _ACTIVATIONS[scheme.activations][3]
            self._parameters[key] = Parameters(
                scheme.activations,
                scale,
                zero_point,
                self._graph.add(scale, f"{root}_scale"),
                self._graph.add(zero_point.astype(kind), f"{root}_zero_point"),
            )
        return self._parameters[key]


def _grid(scheme: Scheme) -> Grid:
    bits, signed, _, _ = _ACTIVATIONS[scheme.activations]
    return Grid(bits, signed, scheme.symmetric_activations)


def _differ(wanted: str, given: str) -> bool:
    """Whether integers of 8 bits have to become those of another type.

    Whoever asks for 8 bits may read 16, and the other way round: it computes with floats then.
    """
    return wanted != given and "int16" not in (wanted, given)


def _fitting(scale: Floats, entry: Parameters, bias: Floats) -> Floats:
    """Scales of weights large enough for the biases of their channels to fit int32."""
    least = np.abs(bias).astype(np.float64) / (float(entry.scale) * _LARGEST_BIAS)
    return np.maximum(scale, least if scale.size > 1 else least.max()).astype(np.float32)
