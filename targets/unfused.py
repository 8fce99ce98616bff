"""Which QDQ operators ONNX Runtime's CPU provider runs as such, by its published rules.

The rules are those of ONNX Runtime's graph optimizations as of 1.32 (onnxruntime/core/optimizer/
qdq_transformer: qdq_selector_action_transformer.cc, qdq_selectors.cc, qdq_propagation.cc);
`oracles/qdq.py` asks the runtime itself. What only brings the model's inputs to integers and its
outputs back to reals is not listed: that has to be done somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .dtypes import BITS
from .facts import GraphFacts, Node, UnfusedPair
from .graph_view import GraphView

Q, DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class _Kernel:
    """What an integer kernel wants of the QDQ operators around it.

    Attributes:
        operands: positions of the inputs that must be quantized; None: all.
        result: whether its result must be quantized too.
        same: whether the result must have the scale of the input.
        wide: whether it also takes 16 bits.
    """

    operands: tuple[int, ...] | None = (0,)
    result: bool = True
    same: bool = False
    wide: bool = False


_MOVE = _Kernel(same=True, wide=True)
_KERNELS: dict[str, _Kernel] = {
    **dict.fromkeys(
        ("Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Slice", "Squeeze", "Tile"),
        _MOVE,
    ),
    **dict.fromkeys(("Transpose", "Unsqueeze", "Split"), _MOVE),
    **dict.fromkeys(("MaxPool", "ReduceMax", "ReduceMin", "Resize"), _Kernel(same=True)),
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax"), _Kernel()
    ),
    "ArgMax": _Kernel(result=False),
    "Add": _Kernel(None),
    "Mul": _Kernel(None),
    "Concat": _Kernel(None),
    "Conv": _Kernel((0, 1)),
    "MatMul": _Kernel((0, 1), result=False),
    "Gemm": _Kernel((0, 1), result=False),
    "Where": _Kernel((1, 2)),
}
#: Operators that scales are carried across.
_CARRIES = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"})
_CLIPS = frozenset({"Relu", "Clip"})


def unfused_pairs(graphs: Sequence[GraphFacts]) -> tuple[UnfusedPair, ...]:
    """The QDQ operators that don't fuse, in the order of the graphs, each with the reason."""
    return tuple(pair for graph in graphs for pair in _Rules(graph).pairs())


class _Rules:
    """One graph."""

    def __init__(self, graph: GraphFacts) -> None:
        view = GraphView(graph)
        self.graph, self.producers, self.readers = graph, view.producers, view.readers
        self.results = frozenset(graph.outputs)
        self._reasons: dict[int, str | None] = {}

    def pairs(self) -> Iterator[UnfusedPair]:
        for node in self.graph.nodes:
            reason = None
            if node.operator == DQ:
                reason = self._after(node.outputs[0])
            elif node.operator == Q:
                reason = self._before(node)
            if reason is not None:
                yield UnfusedPair(node.name, node.operator, reason)

    def _after(self, index: int) -> str | None:
        """Why a DequantizeLinear stays, or an operator that carries its scale; None if it goes."""
        for reader in self.readers.get(index, ()):
            if reader.operator == Q:
                return "it is quantized again at once"
            if reader.operator in _CARRIES and self._quantizes(reader) is None:
                reason = self._after(reader.outputs[0])
            else:
                reason = self._reason(reader)
            if reason is not None:
                return reason
        return None

    def _before(self, node: Node) -> str | None:
        """Why a QuantizeLinear stays; None if it goes, or if it brings an input to integers."""
        source = self.producers.get(node.inputs[0])
        while source is not None and source.operator in _CARRIES | _CLIPS:
            if source.operator in _CARRIES and self._dequantized(source.inputs[0]) is not None:
                break
            source = self.producers.get(source.inputs[0])
        if source is None:
            return None
        if source.operator == DQ:
            nearest = self.producers[node.inputs[0]]
            return None if nearest is source else self._reason(nearest)
        if not any(self._dequantized(index) for index in source.inputs):
            return f"{_named(source)} before it computes in floating point"
        return self._reason(source)

    def _reason(self, node: Node) -> str | None:
        """Why a node does not become an integer kernel."""
        if node.index not in self._reasons:
            self._reasons[node.index] = self._judge(node)
        return self._reasons[node.index]

    def _judge(self, node: Node) -> str | None:
        kernel = _KERNELS.get(node.operator)
        if kernel is None:
            if node.operator in _CLIPS and self._vanishes(node):
                return None
            return f"{node.operator} has no integer kernel"
        present = tuple(i for i, index in enumerate(node.inputs) if index >= 0)
        wanted = present if kernel.operands is None else kernel.operands
        sources = [self._dequantized(node.inputs[i]) for i in wanted if i < len(node.inputs)]
        found = [source for source in sources if source is not None]
        if len(found) < len(sources):
            return self._only_some(node, found)
        types = [self._stored_type(source) for source in found]
        bits = max(BITS.get(types[0], 8), BITS.get(types[-1], 8))
        if bits != 8 and not (bits == 16 and kernel.wide):
            return f"{node.operator} has no integer kernel for {bits} bits"
        return self._judge_result(node, kernel, found[0], types[0])

    def _only_some(self, node: Node, found: list[Node]) -> str | None:
        constant = all(self._is_constant(source.inputs[0]) for source in found)
        if not constant or not found:
            return f"{_named(node)} also reads a tensor that is not quantized"
        # MatMulNBits takes weights of 2, 4 or 8 bits, whatever the activations are.
        weights = self.producers.get(node.inputs[1]) if len(node.inputs) > 1 else None
        plain = not (node.attributes.get("transA") or node.attributes.get("transB"))
        is_product = node.operator in ("MatMul", "Gemm") and plain
        if is_product and weights in found and not self._quantizes(node):
            stored = self.graph.tensors[found[0].inputs[0]]
            scales = stored.quantization
            axis = 0 if scales is not None and scales.block else 1
            fits = scales is not None and (not scales.per_channel or scales.axis == axis)
            if fits and len(stored.shape or ()) == 2:
                return None
        return f"only the weights of {_named(node)} are quantized"

    def _judge_result(self, node: Node, kernel: _Kernel, source: Node, dtype: str) -> str | None:
        result = node.outputs[0]
        readers = self.readers.get(result, [])
        clip = readers[0] if len(readers) == 1 and readers[0].operator in _CLIPS else None
        quantizer = self._quantizes(node if clip is None else clip)
        if clip is not None and quantizer is not None and not self._is_redundant(clip, quantizer):
            return f"{_named(clip)} after {node.operator} changes what the scale alone would clip"
        if quantizer is None:
            if kernel.result:
                return f"the result of {_named(node)} is not quantized"
            return None
        if len(readers) > 1 and any(reader.operator != Q for reader in readers):
            return f"the result of {_named(node)} has other readers, too"
        if result in self.results:
            return f"the result of {_named(node)} is an output of the model"
        written = self.graph.tensors[quantizer.outputs[0]]
        if written.dtype != dtype:
            return f"{_named(node)} reads {dtype} and writes {written.dtype}"
        read = self.graph.tensors[source.inputs[0]]
        if kernel.same and read.quantization != written.quantization:
            return f"{_named(node)} reads and writes with different scales"
        return None

    def _quantizes(self, node: Node) -> Node | None:
        """The QuantizeLinear behind a node, seen through what carries scales."""
        for _ in range(len(self.graph.nodes)):
            readers = self.readers.get(node.outputs[0], []) if node.outputs else []
            for reader in readers:
                if reader.operator == Q:
                    return reader
            if len(readers) != 1 or readers[0].operator not in _CARRIES:
                return None
            node = readers[0]
        return None

    def _dequantized(self, index: int) -> Node | None:
        """The DequantizeLinear that a tensor comes from, seen through the same operators."""
        node = self.producers.get(index)
        while node is not None and node.operator in _CARRIES and self._quantizes(node) is None:
            node = self.producers.get(node.inputs[0])
        return node if node is not None and node.operator == DQ else None

    def _is_redundant(self, clip: Node, quantizer: Node) -> bool:
        """Whether a scale clips what a Relu would; of Clip the ranges are taken for right."""
        tensor = self.graph.tensors[quantizer.outputs[0]]
        scales = tensor.quantization
        if clip.operator == "Clip" or scales is None or scales.parameters is None:
            return clip.operator == "Clip"
        lowest = 0 if tensor.dtype.startswith("uint") else -(1 << (BITS[tensor.dtype] - 1))
        return scales.parameters.zero_point == lowest

    def _vanishes(self, clip: Node) -> bool:
        """Whether a clip between a DequantizeLinear and a QuantizeLinear goes, and they with it."""
        source, quantizer = self._dequantized(clip.inputs[0]), self._quantizes(clip)
        if source is None or quantizer is None or not self._is_redundant(clip, quantizer):
            return False
        read, written = source.inputs[0], quantizer.outputs[0]
        return self.graph.tensors[read].quantization == self.graph.tensors[written].quantization

    def _stored_type(self, node: Node) -> str:
        return self.graph.tensors[node.inputs[0]].dtype

    def _is_constant(self, index: int) -> bool:
        return index >= 0 and self.graph.tensors[index].constant is not None


def _named(node: Node) -> str:
    return f"{node.operator} '{node.name}'"
