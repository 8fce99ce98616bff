"""Reads a TFLite file: its flatbuffer is parsed as data, no runtime is started."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..files import sha256_file
from .contradictions import contradiction
from .derived import with_derived
from .external_file import external_file
from .facts import ModelFacts, SignatureFacts, TensorSpec
from .tally import constant_bytes, tally_operators, tally_quantized
from .tflite_calls import runs_per_inference
from .tflite_file import TfliteFile, TfliteSignature, TfliteSubgraph, read_tflite
from .tflite_graph import QUANTIZED, TfliteGraph
from .tflite_memory import peak_activation_bytes
from .tflite_metadata import associated_files

#: What reading a damaged flatbuffer raises.
_DAMAGE = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def inspect_tflite(path: Path) -> ModelFacts:
    """The facts of a TFLite file.

    Raises:
        UsageError: the file is truncated or damaged, or lacks the files that hold its weights.
    """
    try:
        with path.open("rb") as handle:
            view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return _facts(path, read_tflite(view))
    except _DAMAGE as error:
        # Only what the reader itself says is about the file; the rest is about Python.
        said = f" ({error})" if type(error) is ValueError else ""
        raise UsageError(
            f"{path} is a damaged or truncated TFLite model{said}",
            hint="copy or download it again",
        ) from error


def _facts(path: Path, file: TfliteFile) -> ModelFacts:
    main = file.subgraphs[0]
    for subgraph in file.subgraphs:
        _check_connected(subgraph)
    graphs = [TfliteGraph(subgraph) for subgraph in file.subgraphs]
    runs = runs_per_inference(file.subgraphs)
    nodes = [
        node for graph, count in zip(graphs, runs, strict=True) for node in graph.node_facts(count)
    ]
    graph_names = [subgraph.name for subgraph in file.subgraphs]
    inputs, outputs = _names(file)
    external = [external_file(path, name, "weights") for name in file.external_data]
    metadata = dict(file.metadata)
    packed = associated_files(path)
    if packed:
        metadata["associated files"] = ", ".join(packed)
    facts = ModelFacts(
        path=path,
        format="tflite",
        size_bytes=sum(each.stat().st_size for each in (path, *external)),
        sha256=sha256_file(path),
        inputs=_specs(main, main.inputs, inputs),
        outputs=_specs(main, main.outputs, outputs),
        operators=tally_operators(nodes),
        weight_bytes=constant_bytes(nodes),
        peak_activation_bytes=peak_activation_bytes(graphs),
        min_runtime_version=file.metadata.get("min_runtime_version"),
        quantized=tally_quantized(nodes),
        subgraphs=len(file.subgraphs) - 1,
        external_data=file.external_data,
        format_version=file.schema_version,
        producer=file.producer,
        metadata=metadata,
        signatures=tuple(_signature(file, signature) for signature in file.signatures),
        graphs=tuple(graph.facts(graph_names) for graph in graphs),
    )
    if (why := contradiction(facts.graphs)) is not None:
        raise ValueError(why)
    return with_derived(facts, [node.quantized for node in nodes])


def _check_connected(graph: TfliteSubgraph) -> None:
    """That every tensor that is read has one source, and an earlier one.

    Source: schema.fbs, SubGraph ("all operators, in execution order").
    """
    known = set(graph.inputs)

    def is_there(index: int) -> bool:
        tensor = graph.tensors[index]
        stored = tensor.constant is not None or tensor.variable
        return stored or index in known or 0 in (tensor.shape or ())

    computed: set[int] = set()
    for node in graph.nodes:
        # Compilers give their own operators scratch memory as inputs.
        reads = () if node.operator.startswith("custom::") else node.inputs
        for index in reads:
            if index >= 0 and not is_there(index):
                name = graph.tensors[index].name
                raise ValueError(f"nothing computes '{name}' before {node.operator} reads it")
        for index in node.outputs:
            if index in computed:
                raise ValueError(f"two nodes compute '{graph.tensors[index].name}'")
            computed.add(index)
            known.add(index)
    for index in graph.outputs:
        if not is_there(index):
            raise ValueError(f"nothing computes the output '{graph.tensors[index].name}'")


def _signature(file: TfliteFile, signature: TfliteSignature) -> SignatureFacts:
    graph = file.subgraphs[signature.subgraph]

    def named(pairs: Sequence[tuple[str, int]]) -> tuple[tuple[str, str], ...]:
        return tuple((alias, graph.tensors[index].name) for alias, index in pairs)

    return SignatureFacts(
        signature.name, graph.name, named(signature.inputs), named(signature.outputs)
    )


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
        how = tensor.quantization if tensor.dtype in QUANTIZED else None
        parameters = how.parameters if how is not None else None
        specs.append(TensorSpec(name, tensor.shape or (), tensor.dtype, parameters))
    return tuple(specs)
