"""Operators with constant weights in an ONNX graph, and what is computed together with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .grid import Floats
from .onnx_graph import Graph, Node, options, single


@dataclass(frozen=True)
class Unit:
    """A convolution, matrix product or embedding, with the nodes that belong to it.

    Attributes:
        node: the one that reads the weights.
        input, output: the tensors before and behind the whole unit.
        weight: the constant's name.
        transposed: whether the file has the weights as [in, out].
        bias: the constant's name; None where there is none.
        bias_node: the Add that a MatMul's bias is in.
        activation: the Relu or Clip behind it, where that alone reads the output.
        bounds: what the activation clips to.
    """

    node: Node
    input: str
    output: str
    weight: str
    transposed: bool = False
    bias: str | None = None
    bias_node: Node | None = None
    activation: Node | None = None
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def weight_place(self) -> int:
        """Which input of the node they are."""
        return 0 if self.is_embedding else 1

    @property
    def is_embedding(self) -> bool:
        """Whether rows of the weights are looked up."""
        return bool(self.node.op_type == "Gather")

    @property
    def axis(self) -> int:
        """That of the output channels (of an embedding: of the rows) in the file."""
        return int(self.transposed)

    @property
    def followers(self) -> list[Node]:
        """The nodes after the first, in their order."""
        return [node for node in (self.bias_node, self.activation) if node is not None]

    def weights(self, graph: Graph) -> Floats:
        """float32 [out, ...], [out, in] for all but convolutions."""
        values = graph.float_constant(self.weight)
        assert values is not None
        return np.ascontiguousarray(values.T) if self.transposed else values

    def in_file(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Weights, or integers for them, from the order of `weights` into that of the file."""
        return values.T if self.transposed else values


def find_units(graph: Graph) -> list[Unit]:
    """In the graph's order."""
    consumers = graph.consumers()
    units = []
    for node in graph.nodes:
        unit = _unit(graph, node, consumers)
        if unit is not None:
            units.append(unit)
    return units


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """What a Relu or a Clip with constant bounds clips to; None for other nodes."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    settings = options(node)  # before opset 11 the bounds were attributes
    bounds = [float(settings.get("min", -np.inf)), float(settings.get("max", np.inf))]
    for index, name in enumerate(node.input[1:3]):
        if name:
            given = graph.float_constant(name)
            if given is None:
                return None
            bounds[index] = float(given.ravel()[0])
    return bounds[0], bounds[1]


def following_activation(
    graph: Graph, output: str, consumers: dict[str, list[tuple[Node, int]]]
) -> tuple[Node, tuple[float, float]] | None:
    """The Relu or Clip that alone reads a tensor, and its bounds."""
    if output in graph.outputs or output in graph.inner_reads:
        return None
    reader = single(consumers.get(output, []))
    bounds = None if reader is None else clip_bounds(graph, reader)
    return None if reader is None or bounds is None else (reader, bounds)


def _unit(graph: Graph, node: Node, consumers: dict[str, list[tuple[Node, int]]]) -> Unit | None:
    found = {"Conv": _convolution, "Gemm": _gemm, "MatMul": _product, "Gather": _embedding}.get(
        node.op_type
    )
    unit = None if found is None or node.domain else found(graph, node, consumers)
    if unit is None or unit.is_embedding:
        return unit
    behind = following_activation(graph, unit.output, consumers)
    if behind is None:
        return unit
    node, bounds = behind
    return replace(unit, activation=node, bounds=bounds, output=node.output[0])


def _convolution(
    graph: Graph, node: Node, consumers: dict[str, list[tuple[Node, int]]]
) -> Unit | None:
    bias = _name(node, 2)
    if graph.float_constant(node.input[1]) is None:
        return None
    if bias is not None and graph.float_constant(bias) is None:
        return None
    return Unit(node, node.input[0], node.output[0], node.input[1], bias=bias)


def _gemm(graph: Graph, node: Node, consumers: dict[str, list[tuple[Node, int]]]) -> Unit | None:
    settings = options(node)
    weights = graph.float_constant(node.input[1])
    is_plain = (
        settings.get("alpha", 1.0) == 1.0
        and settings.get("beta", 1.0) == 1.0
        and not settings.get("transA", 0)
    )
    if weights is None or not is_plain:
        return None
    transposed = not settings.get("transB", 0)
    bias = _name(node, 2)
    if bias is not None and not _is_bias(graph, bias, weights.shape[int(transposed)]):
        return None
    return Unit(node, node.input[0], node.output[0], node.input[1], transposed, bias)


def _product(graph: Graph, node: Node, consumers: dict[str, list[tuple[Node, int]]]) -> Unit | None:
    weights = graph.float_constant(node.input[1])
    if weights is None or weights.ndim != 2 or graph.constant(node.input[0]) is not None:
        return None
    output = node.output[0]
    readers = consumers.get(output, [])
    if len(readers) == 1 and not {output} & (graph.outputs | graph.inner_reads):
        reader, place = readers[0]
        if reader.op_type == "Add" and _is_bias(graph, reader.input[1 - place], weights.shape[1]):
            bias = reader.input[1 - place]
            return Unit(node, node.input[0], reader.output[0], node.input[1], True, bias, reader)
    return Unit(node, node.input[0], output, node.input[1], transposed=True)


def _embedding(
    graph: Graph, node: Node, consumers: dict[str, list[tuple[Node, int]]]
) -> Unit | None:
    table = graph.float_constant(node.input[0])
    if table is None or table.ndim != 2 or options(node).get("axis", 0) != 0:
        return None
    return Unit(node, node.input[1], node.output[0], node.input[0])


def _is_bias(graph: Graph, name: str, channels: int) -> bool:
    """Whether a constant adds one number to each channel along the last axis."""
    values = graph.float_constant(name)
    return values is not None and values.size == channels == (values.shape or (0,))[-1]


def _name(node: Node, place: int) -> str | None:
    return str(node.input[place]) if len(node.input) > place and node.input[place] else None
