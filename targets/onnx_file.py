"""Loads an ONNX file without its weights: they stay where they are until somebody asks."""

from __future__ import annotations

import functools
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .dtypes import tensor_bytes
from .external_file import external_file
from .file_kind import looks_like

#: Names of onnx.TensorProto.DataType that differ from NumPy's when lower-cased.
_RENAMED = {
    "float": "float32",
    "double": "float64",
    "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz",
    "float8e8m0": "float8_e8m0fnu",
    "float6e2m3": "float6_e2m3fn",
    "float6e3m2": "float6_e3m2fn",
    "float4e2m1": "float4_e2m1fn",
}

#: As onnx.AttributeProto.GRAPH and GRAPHS.
_GRAPH, _GRAPHS = 5, 10

#: Characters of a name in a message.
_NAME = 80

#: The most that a message has; protobuf.dev, "Proto Limits".
_PROTOBUF_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class OnnxFile:
    """A parsed model; tensors with external data are checked to be there, and not loaded."""

    path: Path
    model: Any
    external: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.path, *self.external))


@functools.cache
def dtype_name(element_type: int) -> str:
    """NumPy's name of an onnx.TensorProto.DataType."""
    from onnx import TensorProto

    try:
        name = str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:
        return "undefined"
    return _RENAMED.get(name, name)


def read_onnx(path: Path) -> OnnxFile:
    """Parses an ONNX file.

    Raises:
        UsageError: the file is no ONNX model, is truncated or damaged, or a file that holds its
            weights is missing, too short, or lies outside the model's folder.
        ValueError: it says nonsense of where its weights are.
    """
    model = parse_onnx(path)
    if model is None:
        raise _not_a_model(path)
    external: dict[str, Path] = {}
    for tensor in all_tensors(model):
        _check_tensor(path, tensor, external)
    return OnnxFile(path, model, tuple(external.values()))


def parse_onnx(path: Path) -> Any | None:
    """The ModelProto that a file holds; None if it holds none, or one without a graph.

    Raises:
        UsageError: the file is larger than protobuf allows.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    if path.stat().st_size > _PROTOBUF_BYTES:
        raise UsageError(
            f"{path} is larger than the 2 GB that a protobuf file such as ONNX can have",
            hint="save it with external data: onnx.save(model, path, save_as_external_data=True)",
        )
    model = ModelProto()
    with path.open("rb") as handle:
        content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        with content, memoryview(content) as view:
            model.MergeFromString(view)
    except DecodeError:
        return None
    return model if model.graph.node or model.graph.output else None


def _not_a_model(path: Path) -> UsageError:
    with path.open("rb") as handle:
        what = looks_like(handle.read(512))
    if what == "binary data of an unknown kind":
        return UsageError(
            f"{path} is a damaged or truncated ONNX model, or none at all",
            hint="copy or download it again",
        )
    return UsageError(f"{path} is not an ONNX model: it looks like {what}")


def all_graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs inside it, the outer one first."""
    yield graph
    for node in graph.node:
        for inner in graphs_of(node):
            yield from all_graphs(inner)


def graphs_of(node: Any) -> list[Any]:
    """The graphs that a node holds in its attributes (branches, loop bodies)."""
    return [graph for _, graph in named_graphs(node)]


def named_graphs(node: Any) -> list[tuple[str, Any]]:
    """The graphs that a node holds, each with the attribute's name ('body', 'bodies[1]')."""
    found = []
    for attribute in node.attribute:
        if attribute.type == _GRAPH:
            found.append((attribute.name, attribute.g))
        elif attribute.type == _GRAPHS:
            name = attribute.name
            found += [(f"{name}[{index}]", graph) for index, graph in enumerate(attribute.graphs)]
    return found


def all_tensors(model: Any) -> Iterator[Any]:
    """All constants of a model: of its graph, the graphs inside it, and its own functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            # Whatever type the attribute says that it has.
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in graphs_of(node):
            yield from _graph_tensors(inner)


def _check_tensor(path: Path, tensor: Any, external: dict[str, Path]) -> None:
    """That a tensor's values are all there."""
    from onnx import TensorProto

    if any(size < 0 for size in tensor.dims):
        raise UsageError(f"{path} is damaged: the constant '{tensor.name}' has a negative size")
    needed = tensor_bytes(dtype_name(tensor.data_type), tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        # Names that converters join from many layers would fill the screen.
        name = tensor.name if len(tensor.name) <= _NAME else f"{tensor.name[:_NAME]}..."
        place = external_file(path, external_location(tensor), f"the weights '{name}'")
        offset, length = external_range(tensor)
        if needed is not None and length not in (None, needed):
            raise UsageError(
                f"{path} is damaged: the constant '{name}' has {length} of its {needed} bytes in "
                f"{place.name}"
            )
        end = offset + (length if length is not None else needed or 0)
        if place.stat().st_size < end:
            raise UsageError(
                f"{place}, which holds weights of {path.name}, is truncated: '{tensor.name}' ends "
                f"at byte {end}, the file has {place.stat().st_size}"
            )
        external[str(place)] = place
        return
    stored = len(tensor.raw_data)
    if needed is not None and 0 < stored < needed:
        raise UsageError(
            f"{path} is damaged: the constant '{tensor.name}' has {stored} of its {needed} bytes"
        )


def external_range(tensor: Any) -> tuple[int, int | None]:
    """Where a tensor's values lie in its external file: offset and length in bytes.

    Raises:
        ValueError: the file says no numbers.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = entries.get("offset", "0"), entries.get("length")
    # More digits than a 64-bit number has are no place in a file.
    if not all(re.fullmatch("[0-9]{1,19}", text) for text in (offset, length or "0")):
        raise ValueError(f"the constant '{tensor.name}' has a range of bytes that is no number")
    return int(offset), None if length is None else int(length)


def external_location(tensor: Any) -> str:
    """The external file's path as the model names it, relative to the model's folder."""
    return next((str(e.value) for e in tensor.external_data if e.key == "location"), "")
