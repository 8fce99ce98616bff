"""A TFLite flatbuffer as plain values.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, as generated in `ai_edge_litert`.
Reading a damaged file raises ValueError, or whatever the flatbuffers library trips over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import tensor_bytes
from .facts import Quantization


@dataclass(frozen=True)
class TfliteTensor:
    """One tensor of a subgraph.

    Attributes:
        shape: None marks a dimension that the file leaves open (-1 in its shape signature).
        shape_at_one: the shape with open dimensions at 1, as the converter wrote it.
        constant: the index of the buffer that holds the values; None for activations.
        constant_bytes: bytes of the constant.
        scales: how many quantization scales there are; 0 if the tensor is not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    shape_at_one: tuple[int, ...]
    constant: int | None
    constant_bytes: int
    scales: int
    quantization: Quantization | None


@dataclass(frozen=True)
class TfliteNode:
    """One operator; an input of -1 is left out."""

    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteSubgraph:
    tensors: tuple[TfliteTensor, ...]
    nodes: tuple[TfliteNode, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteSignature:
    """The names that callers use, with the tensors that they stand for, in the file's order."""

    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TfliteFile:
    subgraphs: tuple[TfliteSubgraph, ...]
    signatures: tuple[TfliteSignature, ...]
    min_runtime_version: str | None


def read_tflite(data: Any) -> TfliteFile:
    """Reads a flatbuffer.

    Args:
        data: the file's bytes, or a memory map of them.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    operators = [
        _operator_name(model.OperatorCodes(i), schema) for i in range(model.OperatorCodesLength())
    ]
    dtypes = _names_by_value(schema.TensorType)
    lengths = [_buffer_bytes(model.Buffers(i), len(data)) for i in range(model.BuffersLength())]
    subgraphs = tuple(
        _subgraph(model.Subgraphs(i), operators, dtypes, lengths)
        for i in range(model.SubgraphsLength())
    )
    if not subgraphs:
        raise ValueError("it has no subgraph")
    signatures = tuple(
        _signature(model.SignatureDefs(i), subgraphs) for i in range(model.SignatureDefsLength())
    )
    return TfliteFile(subgraphs, signatures, _min_runtime_version(model))


def _operator_name(code: Any, schema: Any) -> str:
    # Codes above 127 don't fit the old field; the larger of the two counts (schema_utils.cc).
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if builtin == schema.BuiltinOperator.CUSTOM:
        name = _text(code.CustomCode()) or "unnamed"
        return f"flex::{name[4:]}" if name.startswith("Flex") else f"custom::{name}"
    return _names_by_value(schema.BuiltinOperator).get(builtin, f"BUILTIN_{builtin}")


def _names_by_value(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", errors="replace")


def _buffer_bytes(buffer: Any, file_bytes: int) -> int:
    """Bytes of a buffer; data behind the flatbuffer is for files beyond 2 GB."""
    if buffer.Offset() > 1:
        if buffer.Offset() + buffer.Size() > file_bytes:
            raise ValueError("weights reach past the end of the file")
        return int(buffer.Size())
    return 0 if buffer.DataIsNone() else int(buffer.DataAsNumpy().nbytes)


def _subgraph(
    subgraph: Any, operators: Sequence[str], dtypes: dict[int, str], lengths: Sequence[int]
) -> TfliteSubgraph:
    tensors = tuple(
        _tensor(subgraph.Tensors(i), dtypes, lengths) for i in range(subgraph.TensorsLength())
    )
    nodes = []
    for i in range(subgraph.OperatorsLength()):
        node = subgraph.Operators(i)
        nodes.append(
            TfliteNode(
                operator=operators[node.OpcodeIndex()],
                inputs=_indices(node.InputsLength(), node.InputsAsNumpy, len(tensors)),
                outputs=_indices(node.OutputsLength(), node.OutputsAsNumpy, len(tensors)),
            )
        )
    return TfliteSubgraph(
        tensors=tensors,
        nodes=tuple(nodes),
        inputs=_indices(subgraph.InputsLength(), subgraph.InputsAsNumpy, len(tensors)),
        outputs=_indices(subgraph.OutputsLength(), subgraph.OutputsAsNumpy, len(tensors)),
    )


def _indices(length: int, read: Any, tensors: int) -> tuple[int, ...]:
    indices = tuple(int(index) for index in read()) if length else ()
    if any(not -1 <= index < tensors for index in indices):
        raise ValueError("a node reads a tensor that does not exist")
    return indices


def _tensor(tensor: Any, dtypes: dict[int, str], lengths: Sequence[int]) -> TfliteTensor:
    at_one = tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
    signature = at_one
    if tensor.ShapeSignatureLength():
        signature = tuple(int(size) for size in tensor.ShapeSignatureAsNumpy())
    if any(size < 0 for size in at_one):
        raise ValueError("a tensor has a negative size")
    dtype = dtypes[tensor.Type()].lower()
    buffer = tensor.Buffer()
    constant_bytes = lengths[buffer] if buffer < len(lengths) else 0
    needed = tensor_bytes(dtype, at_one)
    dense = needed is not None and tensor.Sparsity() is None
    if dense and 0 < constant_bytes < (needed or 0):
        raise ValueError(f"a tensor of {needed} bytes has {constant_bytes}")
    scales, quantization = _quantization(tensor)
    return TfliteTensor(
        name=_text(tensor.Name()),
        dtype=dtype,
        shape=tuple(None if size < 0 else size for size in signature),
        shape_at_one=at_one,
        constant=buffer if constant_bytes else None,
        constant_bytes=constant_bytes,
        scales=scales,
        quantization=quantization,
    )


def _quantization(tensor: Any) -> tuple[int, Quantization | None]:
    parameters = tensor.Quantization()
    if parameters is None or not parameters.ScaleLength():
        return 0, None
    scales = parameters.ScaleLength()
    if scales > 1:
        return scales, None
    zero_point = int(parameters.ZeroPoint(0)) if parameters.ZeroPointLength() else 0
    return 1, Quantization(float(parameters.Scale(0)), zero_point)


def _signature(signature: Any, subgraphs: Sequence[TfliteSubgraph]) -> TfliteSignature:
    index = int(signature.SubgraphIndex())
    tensors = len(subgraphs[index].tensors)

    def read(maps: list[Any]) -> tuple[tuple[str, int], ...]:
        pairs = tuple((_text(item.Name()), int(item.TensorIndex())) for item in maps)
        if any(tensor >= tensors for _, tensor in pairs):
            raise ValueError("a signature names a tensor that does not exist")
        return pairs

    return TfliteSignature(
        subgraph=index,
        inputs=read([signature.Inputs(i) for i in range(signature.InputsLength())]),
        outputs=read([signature.Outputs(i) for i in range(signature.OutputsLength())]),
    )


def _min_runtime_version(model: Any) -> str | None:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == b"min_runtime_version":
            buffer = model.Buffers(entry.Buffer())
            if not buffer.DataIsNone():
                return _text(buffer.DataAsNumpy().tobytes()).strip("\0 ") or None
    return None
