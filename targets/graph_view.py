"""Questions about a graph that several rules ask: who makes a tensor, what is constant."""

from __future__ import annotations

from functools import cached_property

from .facts import GraphFacts, Node, TensorFacts

#: Operators that only hold or unpack stored values: what they make of constants is constant.
_UNPACKERS = frozenset(
    {"Constant", "DequantizeLinear", "Identity", "Cast", "DEQUANTIZE", "DENSIFY", "CAST"}
)

#: Where an operator's data are, if not in the first input that is no constant.
_DATA_INPUT = {
    "GATHER": 0,
    "GATHER_ND": 0,
    "Gather": 0,
    "GatherND": 0,
    "GatherElements": 0,
    "com.microsoft::GatherBlockQuantized": 0,
    "EMBEDDING_LOOKUP": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "Where": 1,
}

#: Where the weights of products and recurrent layers are.
_WEIGHTS_INPUT = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "CONV_3D": 1,
    "TRANSPOSE_CONV": 1,
    "CONV_3D_TRANSPOSE": 1,
    "FULLY_CONNECTED": 1,
    "BATCH_MATMUL": 1,
    "SVDF": 1,
    "RNN": 1,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 1,
    "LSTM": 2,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 2,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 2,
    "Conv": 1,
    "ConvTranspose": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "QLinearMatMul": 3,
    "com.microsoft::DynamicQuantizeMatMul": 1,
    "com.microsoft::MatMulIntegerToFloat": 1,
}


class GraphView:
    """One graph, with what can be derived from it; everything is linear in its nodes."""

    def __init__(self, graph: GraphFacts) -> None:
        self.graph = graph

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The node that makes a tensor, by the tensor's position."""
        return {tensor: node for node in self.graph.nodes for tensor in node.outputs}

    @cached_property
    def readers(self) -> dict[int, list[Node]]:
        """The nodes that read a tensor, each once, by the tensor's position."""
        found: dict[int, list[Node]] = {}
        for node in self.graph.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found.setdefault(tensor, []).append(node)
        return found

    @cached_property
    def constants(self) -> frozenset[int]:
        """Positions of tensors whose values are known from the file."""
        found = {i for i, t in enumerate(self.graph.tensors) if t.constant is not None}
        for node in self.graph.nodes:
            if node.operator in _UNPACKERS and all(i in found for i in node.inputs if i >= 0):
                found.update(node.outputs)
        return frozenset(found)

    def data_input(self, node: Node) -> int | None:
        """The position of the tensor whose type and rank stand for the node's."""
        given = [i for i in node.inputs if i >= 0]
        chosen = _DATA_INPUT.get(node.operator)
        if chosen is not None and chosen < len(node.inputs) and node.inputs[chosen] >= 0:
            return node.inputs[chosen]
        varying = (i for i in given if i not in self.constants)
        return next(varying, given[0] if given else next(iter(node.outputs), None))

    def weights_input(self, node: Node) -> int | None:
        """The position of the tensor with a product's weights."""
        position = _WEIGHTS_INPUT.get(node.operator)
        if position is None or position >= len(node.inputs) or node.inputs[position] < 0:
            return None
        return node.inputs[position]

    def stored(self, tensor: int) -> TensorFacts:
        """The tensor itself, or where a QDQ pair unpacks it, the integers that it is made of."""
        producer = self.producers.get(tensor)
        if producer is not None and producer.operator == "DequantizeLinear":
            source = self.graph.operand(producer, 0)
            if source is not None:
                return source
        return self.graph.tensors[tensor]
