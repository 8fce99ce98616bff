"""Reads a TFLite file: its flatbuffer is parsed as data, no runtime is started."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Hashable, Sequence
from pathlib import Path

from ..errors import UsageError
from ..files import sha256_file
from .derived import with_derived
from .dtypes import elements, tensor_bytes
from .facts import ModelFacts, TensorSpec
from .tally import (
    NodeFacts,
    QuantizedUse,
    Step,
    constant_bytes,
    peak_bytes,
    tally_operators,
    tally_quantized,
)
from .tflite_file import TfliteFile, TfliteNode, TfliteSubgraph, TfliteTensor, read_tflite
from .tflite_macs import PRODUCT_OPERANDS, Shape, count_macs

#: What reading a damaged flatbuffer raises.
_DAMAGE = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    MemoryError,
)

#: Types that weights are quantized to.
_QUANTIZED = frozenset({"int8", "uint8", "int4", "uint4", "int2", "int16"})


#: Operators that run another subgraph.
_RUNS_A_GRAPH = frozenset({"IF", "WHILE", "STABLEHLO_WHILE", "STABLEHLO_CASE"})


def inspect_tflite(path: Path) -> ModelFacts:
    """The facts of a TFLite file.

    Raises:
        UsageError: the file is truncated or damaged.
    """
    try:
        with path.open("rb") as handle:
            view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return _facts(path, read_tflite(view))
    except _DAMAGE as error:
        raise UsageError(
            f"{path} is a damaged or truncated TFLite model ({error or type(error).__name__})",
            hint="copy or download it again",
        ) from error


def _facts(path: Path, file: TfliteFile) -> ModelFacts:
    main = file.subgraphs[0]
    static = _batch_of_one_is_sound(main)
    graphs = [_Graph(subgraph, static, once=subgraph is main) for subgraph in file.subgraphs]
    nodes = [graph.node_facts(node) for graph in graphs for node in graph.subgraph.nodes]
    inputs, outputs = _names(file)
    facts = ModelFacts(
        path=path,
        format="tflite",
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        inputs=_specs(main, main.inputs, inputs),
        outputs=_specs(main, main.outputs, outputs),
        operators=tally_operators(nodes),
        weight_bytes=constant_bytes(nodes),
        peak_activation_bytes=_peak(graphs),
        min_runtime_version=file.min_runtime_version,
        quantized=tally_quantized(nodes),
        subgraphs=len(file.subgraphs) - 1,
    )
    return with_derived(facts, [node.quantized for node in nodes])


def _names(file: TfliteFile) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The signature's names, where there is exactly one signature."""
    if len(file.signatures) == 1 and file.signatures[0].subgraph == 0:
        return list(file.signatures[0].inputs), list(file.signatures[0].outputs)
    return [], []


def _specs(
    subgraph: TfliteSubgraph, indices: Sequence[int], names: list[tuple[str, int]]
) -> tuple[TensorSpec, ...]:
    """In the subgraph's order, which is that of the interpreter's get_input_details()."""
    specs = []
    for index in indices:
        tensor = subgraph.tensors[index]
        name = tensor.name
        for position, (alias, target) in enumerate(names):
            if target == index:
                name = alias
                del names[position]
                break
        quantization = tensor.quantization if tensor.dtype in _QUANTIZED else None
        specs.append(TensorSpec(name, tensor.shape, tensor.dtype, quantization))
    return tuple(specs)


def _batch_of_one_is_sound(main: TfliteSubgraph) -> bool:
    """Whether open dimensions stand for a batch of 1, so that the shapes in the file hold.

    The converter writes 1 for every open dimension. That is a batch of 1 if inputs are open in
    their first dimension only, and if no reshaping folds other dimensions into an open one.
    """
    for index in main.inputs:
        shape = main.tensors[index].shape
        if None in shape[1:] or shape == (None,):
            return False
    for node in main.nodes:
        if node.operator == "RESHAPE":
            before = main.tensors[node.inputs[0]].shape_at_one
            after = main.tensors[node.outputs[0]].shape_at_one
            if elements(before) != elements(after):
                return False
    return all(None not in tensor.shape[1:] for tensor in main.tensors)


def _peak(graphs: list[_Graph]) -> int | None:
    """Of the main graph, plus the neediest other graph where it runs one."""
    others = [graph.peak(0) for graph in graphs[1:]]
    return graphs[0].peak(None if None in others else max((p or 0 for p in others), default=0))


class _Graph:
    """One subgraph with what is known of its shapes and constants."""

    def __init__(self, subgraph: TfliteSubgraph, static: bool, *, once: bool) -> None:
        self.subgraph = subgraph
        self.static = static
        self.once = once
        #: For tensors computed from constants alone: the constants, with their bytes.
        self.constants: dict[int, dict[Hashable, int]] = {
            index: {tensor.constant: tensor.constant_bytes}
            for index, tensor in enumerate(subgraph.tensors)
            if tensor.constant is not None
        }
        self.producers = {
            output: node for node in subgraph.nodes for output in node.outputs if output >= 0
        }
        for node in subgraph.nodes:
            sources = [self.constants.get(index) for index in node.inputs if index >= 0]
            known = [source for source in sources if source is not None]
            if node.operator in ("DEQUANTIZE", "DENSIFY") and known and len(known) == len(sources):
                for output in node.outputs:
                    self.constants[output] = {k: v for s in known for k, v in s.items()}

    def shape(self, index: int) -> Shape:
        if index < 0:
            return None
        tensor = self.subgraph.tensors[index]
        return tensor.shape_at_one if self.static or None not in tensor.shape else None

    def node_facts(self, node: TfliteNode) -> NodeFacts:
        tensors = self.subgraph.tensors
        present = [index for index in (*node.inputs, *node.outputs) if index >= 0]
        macs = count_macs(
            node.operator,
            [self.shape(index) for index in node.inputs],
            [self.shape(index) for index in node.outputs],
        )
        constants: dict[Hashable, int] = {}
        for index in node.inputs:
            constants.update(self.constants.get(index, {}))
        return NodeFacts(
            operator=node.operator,
            dtypes=frozenset(tensors[index].dtype for index in present),
            macs=macs if self.once or macs == 0 else None,
            constants=constants,
            quantized=self._quantized(node),
        )

    def _quantized(self, node: TfliteNode) -> QuantizedUse | None:
        operands = PRODUCT_OPERANDS.get(node.operator)
        if operands is None:
            return None
        activation = self.subgraph.tensors[node.inputs[operands[0]]]
        weights = self.subgraph.tensors[node.inputs[operands[1]]]
        explicit = self._dequantized(node.inputs[operands[1]])
        stored = explicit or weights
        if stored.dtype not in _QUANTIZED and activation.dtype not in _QUANTIZED:
            return None
        constant = stored.constant is not None
        return QuantizedUse(
            activation_dtype=activation.dtype,
            weight_dtype=stored.dtype if constant else None,
            per_channel=constant and stored.scales > 1,
            dynamic=explicit is None and activation.dtype not in _QUANTIZED,
        )

    def _dequantized(self, index: int) -> TfliteTensor | None:
        """The constant behind an explicit DEQUANTIZE: weights that are computed with as float."""
        producer = self.producers.get(index)
        if producer is None or producer.operator != "DEQUANTIZE" or index not in self.constants:
            return None
        return self.subgraph.tensors[producer.inputs[0]]

    def peak(self, inner_bytes: int | None) -> int | None:
        """Most bytes alive at once; `inner_bytes` are what a graph that a node runs needs."""
        tensors = self.subgraph.tensors
        sizes: dict[Hashable, int | None] = {
            index: tensor_bytes(tensor.dtype, self.shape(index))
            for index, tensor in enumerate(tensors)
            if index not in self.constants
        }
        steps = [
            Step(
                reads=node.inputs,
                writes=[i for i in node.outputs if i in sizes],
                inner_bytes=inner_bytes if node.operator in _RUNS_A_GRAPH else 0,
            )
            for node in self.subgraph.nodes
        ]
        return peak_bytes(steps, sizes, self.subgraph.inputs, self.subgraph.outputs)
