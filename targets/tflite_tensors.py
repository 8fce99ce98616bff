"""The tensors of a TFLite file, with their stored values' sizes and quantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import tensor_bytes
from .facts import Quantization, TensorFacts, TensorQuantization
from .small_values import MOST_VALUES, unpacked
from .tflite_schema import names_by_value, numbers, text

#: Types of tensors that stand for something that lies elsewhere; they have no shape of their own.
_HANDLES = frozenset({"resource", "variant"})

#: Bytes of the largest constant whose values are told.
_SMALL_BYTES = 8 * MOST_VALUES


@dataclass(frozen=True)
class Stored:
    """Values in the file: what identifies them, their bytes, and of few also the content."""

    identity: str
    size_bytes: int
    content: bytes | None = None


def stored_buffers(model: Any, file: Any) -> list[Stored | None]:
    """Every buffer of a model; None where it is empty. No values are read but those of small ones.

    Args:
        file: its bytes, or a memory map of it.

    Raises:
        ValueError: values reach past the end of the file.
    """
    return [_buffer(i, model.Buffers(i), file) for i in range(model.BuffersLength())]


def _buffer(index: int, buffer: Any, file: Any) -> Stored | None:
    # Values behind the flatbuffer are for files beyond 2 GB; 1 marks a place not yet known.
    offset = int(buffer.Offset())
    if offset > 1:
        size = int(buffer.Size())
        if offset + size > len(file):
            raise ValueError("weights reach past the end of the file")
        small = bytes(file[offset : offset + size]) if size <= _SMALL_BYTES else None
        return Stored(f"@{offset}", size, small)
    data = buffer.DataAsNumpy()
    size = 0 if isinstance(data, int) else int(data.nbytes)
    if not size:
        return None
    return Stored(str(index), size, data.tobytes() if size <= _SMALL_BYTES else None)


class TensorReader:
    """Reads the tensors of one subgraph."""

    def __init__(
        self,
        subgraph: Any,
        buffers: Sequence[Stored | None],
        external: dict[int, Stored],
        schema: Any,
    ) -> None:
        self._tensors = [subgraph.Tensors(i) for i in range(subgraph.TensorsLength())]
        self._buffers = buffers
        self._external = external
        self._schema = schema
        self._dtypes = names_by_value(schema.TensorType)
        #: Older files say of no tensor that its rank is known.
        self._ranks_are_told = any(tensor.HasRank() for tensor in self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def read(self, index: int) -> tuple[TensorFacts, tuple[int, ...]]:
        """A tensor, and its shape with open dimensions at 1, as converters write it.

        Raises:
            ValueError: a size is negative, or there are fewer values than the shape has.
        """
        tensor = self._tensors[index]
        at_one = numbers(tensor.ShapeAsNumpy)
        signature = numbers(tensor.ShapeSignatureAsNumpy) or at_one
        if any(size < 0 for size in at_one):
            raise ValueError("a tensor has a negative size")
        dtype = self._dtypes[tensor.Type()].lower()
        stored = self._stored(tensor)
        needed = tensor_bytes(dtype, at_one)
        sparse = tensor.Sparsity() is not None
        if stored is not None and not sparse and stored.size_bytes < (needed or 0):
            raise ValueError(f"a tensor of {needed} bytes has {stored.size_bytes}")
        content = stored.content if stored is not None and not sparse else None
        ranked = bool(signature) or tensor.HasRank() or stored is not None or dtype in _HANDLES
        shape = tuple(None if size < 0 else size for size in signature)
        facts = TensorFacts(
            name=text(tensor.Name()),
            dtype=dtype,
            shape=shape if ranked or not self._ranks_are_told else None,
            constant=stored.identity if stored is not None else None,
            constant_bytes=stored.size_bytes if stored is not None else 0,
            quantization=self._quantization(tensor, dtype, at_one),
            sparse=sparse,
            variable=bool(tensor.IsVariable()),
            values=unpacked(content, dtype, at_one) if content is not None else None,
        )
        return facts, at_one

    def _stored(self, tensor: Any) -> Stored | None:
        if self._external and tensor.ExternalBuffer():
            return self._external[tensor.ExternalBuffer()]
        buffer = tensor.Buffer()
        return self._buffers[buffer] if buffer < len(self._buffers) else None

    def _quantization(
        self, tensor: Any, dtype: str, shape: tuple[int, ...]
    ) -> TensorQuantization | None:
        parameters = tensor.Quantization()
        if parameters is None:
            return None
        details = self._schema.QuantizationDetails
        if parameters.DetailsType() == details.BlockwiseQuantization:
            return self._blockwise(parameters, shape)
        scales = numbers(parameters.ScaleAsNumpy)
        if not scales:
            return None
        middle = 1 << (int(dtype[4:]) - 1) if dtype.startswith("uint") else 0
        zero_points = numbers(parameters.ZeroPointAsNumpy) or (0,)
        symmetric = set(zero_points) == {middle}
        if len(scales) > 1:
            return TensorQuantization(True, int(parameters.QuantizedDimension()), symmetric)
        single = Quantization(scales[0], zero_points[0])
        return TensorQuantization(False, None, symmetric, single)

    def _blockwise(self, parameters: Any, shape: tuple[int, ...]) -> TensorQuantization:
        """Scales in a tensor of their own, one for each block along the last dimension.

        That is the layout of LiteRT's kernels (fully_connected.cc: blocks of the inputs of each
        unit); the file's quantized dimension names the units.
        """
        block = self._schema.BlockwiseQuantization()
        details = parameters.Details()
        block.Init(details.Bytes, details.Pos)
        zero_points = block.ZeroPoints()
        return TensorQuantization(
            per_channel=True,
            axis=max(len(shape) - 1, 0),
            symmetric=zero_points <= 0,
            block=int(block.BlockSize()) or None,
        )
