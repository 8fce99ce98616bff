"""One subgraph of a TFLite file with what follows from its nodes: shapes, constants, products."""

from __future__ import annotations

from collections.abc import Hashable

from .dtypes import elements
from .facts import GraphFacts, Node, TensorFacts
from .tally import NodeFacts, QuantizedUse
from .tflite_file import TfliteNode, TfliteSubgraph
from .tflite_macs import ABSENT, PRODUCT_OPERANDS, Shape, count_macs

#: Types that weights are quantized to.
QUANTIZED = frozenset({"int8", "uint8", "int4", "uint4", "int2", "int16"})

#: Operators that only change how constants are stored.
_UNPACKS = frozenset({"DEQUANTIZE", "DENSIFY"})


class TfliteGraph:
    """A subgraph.

    Attributes:
        constants: for tensors that are stored or unpacked from stored ones alone: what they are
            made from, with their bytes.
        macs: multiply-accumulates of one run of each node; None where unknown.
    """

    def __init__(self, subgraph: TfliteSubgraph) -> None:
        self.subgraph = subgraph
        self._at_one = _batch_of_one_is_sound(subgraph)
        self.constants: dict[int, dict[Hashable, int]] = {
            index: {tensor.constant: tensor.constant_bytes}
            for index, tensor in enumerate(subgraph.tensors)
            if tensor.constant is not None
        }
        self._producers = {
            output: node for node in subgraph.nodes for output in node.outputs if output >= 0
        }
        for node in subgraph.nodes:
            sources = [self.constants.get(index) for index in node.inputs if index >= 0]
            known = [source for source in sources if source is not None]
            if node.operator in _UNPACKS and known and len(known) == len(sources):
                for output in node.outputs:
                    self.constants[output] = {k: v for s in known for k, v in s.items()}
        self.macs = [self._macs(node) for node in subgraph.nodes]

    def shape(self, index: int) -> Shape:
        """A tensor's shape, with an open batch at 1; None where it is unknown."""
        tensor = self.subgraph.tensors[index]
        if tensor.shape is None:
            return None
        return self.subgraph.at_one[index] if self._at_one else tensor.shape

    def facts(self, names: list[str]) -> GraphFacts:
        """The subgraph as `inspect` tells it; `names` are those of all subgraphs."""
        nodes = tuple(
            Node(
                index=index,
                operator=node.operator,
                name=self._name(node),
                version=node.version,
                inputs=node.inputs,
                outputs=node.outputs,
                attributes=node.attributes,
                macs=self.macs[index],
                graphs=tuple(names[graph] for graph in node.graphs),
            )
            for index, node in enumerate(self.subgraph.nodes)
        )
        graph = self.subgraph
        return GraphFacts(graph.name, graph.tensors, nodes, graph.inputs, graph.outputs)

    def node_facts(self, runs: int | None) -> list[NodeFacts]:
        """The nodes for the tally of a graph that one inference runs so often; None: unknown."""
        return [
            self._node_facts(node, macs, runs)
            for node, macs in zip(self.subgraph.nodes, self.macs, strict=True)
        ]

    def _node_facts(self, node: TfliteNode, macs: int | None, runs: int | None) -> NodeFacts:
        tensors = self.subgraph.tensors
        present = [index for index in (*node.inputs, *node.outputs) if index >= 0]
        constants: dict[Hashable, int] = {}
        for index in node.inputs:
            constants.update(self.constants.get(index, {}))
        if macs and runs is not None:
            macs *= runs
        elif macs:
            macs = None
        return NodeFacts(
            operator=node.operator,
            dtypes=frozenset(tensors[index].dtype for index in present),
            macs=macs,
            constants=constants,
            quantized=self._quantized(node),
        )

    def _name(self, node: TfliteNode) -> str:
        outputs = [index for index in node.outputs if index >= 0]
        return self.subgraph.tensors[outputs[0]].name if outputs else ""

    def _macs(self, node: TfliteNode) -> int | None:
        inputs = [self.shape(index) if index >= 0 else ABSENT for index in node.inputs]
        outputs = [self.shape(index) if index >= 0 else ABSENT for index in node.outputs]
        return count_macs(node.operator, inputs, outputs, node.attributes)

    def _quantized(self, node: TfliteNode) -> QuantizedUse | None:
        operands = PRODUCT_OPERANDS.get(node.operator)
        if operands is None:
            return None
        activation = self.subgraph.tensors[node.inputs[operands[0]]]
        weights = self.subgraph.tensors[node.inputs[operands[1]]]
        explicit = self._dequantized(node.inputs[operands[1]])
        stored = explicit or weights
        if stored.dtype not in QUANTIZED and activation.dtype not in QUANTIZED:
            return None
        constant = stored.constant is not None
        how = stored.quantization
        return QuantizedUse(
            activation_dtype=activation.dtype,
            weight_dtype=stored.dtype if constant else None,
            per_channel=constant and how is not None and how.per_channel,
            dynamic=explicit is None and activation.dtype not in QUANTIZED,
        )

    def _dequantized(self, index: int) -> TensorFacts | None:
        """The constant behind an explicit DEQUANTIZE: weights that are computed with as float."""
        producer = self._producers.get(index)
        if producer is None or producer.operator != "DEQUANTIZE" or index not in self.constants:
            return None
        return self.subgraph.tensors[producer.inputs[0]]


def _batch_of_one_is_sound(graph: TfliteSubgraph) -> bool:
    """Whether open dimensions stand for a batch of 1, so that the shapes in the file hold.

    The converter writes 1 for every open dimension. That is a batch of 1 if inputs are open in
    their first dimension only, and if no reshaping folds other dimensions into an open one.
    """
    for index in graph.inputs:
        shape = graph.tensors[index].shape or ()
        if None in shape[1:] or shape == (None,):
            return False
    for node in graph.nodes:
        if node.operator == "RESHAPE":
            before, after = graph.at_one[node.inputs[0]], graph.at_one[node.outputs[0]]
            if elements(before) != elements(after):
                return False
    return all(None not in (tensor.shape or ())[1:] for tensor in graph.tensors)
