"""A TFLite flatbuffer as plain values.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, as generated in `ai_edge_litert`.
Reading a damaged file raises ValueError, or whatever the flatbuffers library trips over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .facts import Attribute, TensorFacts
from .tflite_metadata import read_metadata, read_producer
from .tflite_options import read_attributes, subgraphs_run
from .tflite_schema import names_by_value, numbers, text
from .tflite_tensors import Stored, TensorReader, stored_buffers


@dataclass(frozen=True)
class TfliteNode:
    """One operator; an input of -1 is left out.

    Attributes:
        graphs: positions of the subgraphs that it runs.
    """

    operator: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, Attribute]
    graphs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteSubgraph:
    """One subgraph.

    Attributes:
        name: '' for the first one; unique.
        at_one: the tensors' shapes with open dimensions at 1, as converters write them.
    """

    name: str
    tensors: tuple[TensorFacts, ...]
    at_one: tuple[tuple[int, ...], ...]
    nodes: tuple[TfliteNode, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteSignature:
    """The names that callers use, with the tensors that they stand for, in the file's order."""

    name: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TfliteFile:
    """A whole file.

    Attributes:
        external_data: names of the files that hold values outside of this one.
    """

    subgraphs: tuple[TfliteSubgraph, ...]
    signatures: tuple[TfliteSignature, ...]
    schema_version: int
    producer: str | None
    metadata: dict[str, str]
    external_data: tuple[str, ...]


def read_tflite(data: Any) -> TfliteFile:
    """Parses the bytes of a file (or a memory map of it).

    Raises:
        ValueError: the file has no subgraph, or its tables contradict each other.
        struct.error, IndexError, KeyError, TypeError, ...: offsets lead out of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    operators = [
        (_operator_name(code, schema), int(code.Version()))
        for code in (model.OperatorCodes(i) for i in range(model.OperatorCodesLength()))
    ]
    buffers = stored_buffers(model, data)
    external, files = _external(model)
    tables = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    if not tables:
        raise ValueError("it has no subgraph")
    names = _unique_names(tables)
    subgraphs = tuple(
        _subgraph(table, name, operators, TensorReader(table, buffers, external, schema), schema)
        for table, name in zip(tables, names, strict=True)
    )
    if any(not 0 <= g < len(tables) for s in subgraphs for node in s.nodes for g in node.graphs):
        raise ValueError("a node runs a subgraph that does not exist")
    return TfliteFile(
        subgraphs=subgraphs,
        signatures=tuple(
            _signature(model.SignatureDefs(i), subgraphs)
            for i in range(model.SignatureDefsLength())
        ),
        schema_version=int(model.Version()),
        producer=read_producer(model),
        metadata=read_metadata(model),
        external_data=files,
    )


def _external(model: Any) -> tuple[dict[int, Stored], tuple[str, ...]]:
    """Values in files beside the model, by the number that tensors know them by."""
    groups = [
        text(model.ExternalBufferGroups(i).Name())
        for i in range(model.ExternalBufferGroupsLength())
    ]
    stored = {}
    for i in range(model.ExternalBuffersLength()):
        buffer = model.ExternalBuffers(i)
        identity = f"{groups[buffer.Group()]}@{buffer.Offset()}"
        stored[int(buffer.Id())] = Stored(identity, int(buffer.Length()))
    return stored, tuple(groups)


def _operator_name(code: Any, schema: Any) -> str:
    # Codes above 127 don't fit the old field; the larger of the two counts (schema_utils.cc).
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if builtin == schema.BuiltinOperator.CUSTOM:
        name = text(code.CustomCode()) or "unnamed"
        return f"flex::{name[4:]}" if name.startswith("Flex") else f"custom::{name}"
    return names_by_value(schema.BuiltinOperator).get(builtin, f"BUILTIN_{builtin}")


def _unique_names(tables: Sequence[Any]) -> list[str]:
    names = [""]
    taken = {""}
    for index, table in enumerate(tables[1:], start=1):
        wanted = text(table.Name()) or f"subgraph {index}"
        name = f"{wanted} #{index}" if wanted in taken else wanted
        taken.add(name)
        names.append(name)
    return names


def _subgraph(
    subgraph: Any,
    name: str,
    operators: Sequence[tuple[str, int]],
    reader: TensorReader,
    schema: Any,
) -> TfliteSubgraph:
    tensors = [reader.read(i) for i in range(len(reader))]
    nodes = []
    for i in range(subgraph.OperatorsLength()):
        node = subgraph.Operators(i)
        operator, version = operators[node.OpcodeIndex()]
        attributes = read_attributes(node, schema)
        nodes.append(
            TfliteNode(
                operator=operator,
                version=version,
                inputs=_indices(node.InputsAsNumpy, len(tensors)),
                outputs=_indices(node.OutputsAsNumpy, len(tensors)),
                attributes=attributes,
                graphs=subgraphs_run(attributes),
            )
        )
    return TfliteSubgraph(
        name=name,
        tensors=tuple(facts for facts, _ in tensors),
        at_one=tuple(shape for _, shape in tensors),
        nodes=tuple(nodes),
        inputs=_indices(subgraph.InputsAsNumpy, len(tensors)),
        outputs=_indices(subgraph.OutputsAsNumpy, len(tensors)),
    )


def _indices(read: Callable[[], Any], tensors: int) -> tuple[int, ...]:
    indices = numbers(read)
    if any(not -1 <= index < tensors for index in indices):
        raise ValueError("a node reads a tensor that does not exist")
    return indices


def _signature(signature: Any, subgraphs: Sequence[TfliteSubgraph]) -> TfliteSignature:
    index = int(signature.SubgraphIndex())
    tensors = len(subgraphs[index].tensors)

    def read(maps: list[Any]) -> tuple[tuple[str, int], ...]:
        pairs = tuple((text(item.Name()), int(item.TensorIndex())) for item in maps)
        if any(tensor >= tensors for _, tensor in pairs):
            raise ValueError("a signature names a tensor that does not exist")
        return pairs

    return TfliteSignature(
        name=text(signature.SignatureKey()),
        subgraph=index,
        inputs=read([signature.Inputs(i) for i in range(signature.InputsLength())]),
        outputs=read([signature.Outputs(i) for i in range(signature.OutputsLength())]),
    )
