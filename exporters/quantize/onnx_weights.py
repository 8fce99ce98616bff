"""Quantized weights as constants of an ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from .grid import Floats
from .onnx_graph import Graph
from .onnx_units import Unit
from .recipe import Scheme
from .statistics import Statistics
from .weights import QuantizedWeights, RoundScale, quantize_weights

#: Magnitudes of a layer's largest weight between which float16 holds the scales of its blocks. With
#: smaller weights, scales would be subnormal and lose bits.
_HALF_RANGE = (2.0**-7, 2.0**15)

_SMALLEST_HALF = 2.0**-24

#: The least that MatMulNBits and GatherBlockQuantized take.
_SMALLEST_BLOCK = 16

#: Types in the file, and of the array that holds the values here.
_DATA_TYPES = {
    "int8": (TensorProto.INT8, np.int8),
    "uint8": (TensorProto.UINT8, np.uint8),
    "int4": (TensorProto.INT4, np.int8),
}

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Stored:
    """Names of the constants that hold quantized weights; without a zero point it is the middle."""

    integers: str
    scale: str
    zero_point: str | None


@dataclass
class WeightStore:
    """Quantizes weights and puts them into the graph, once for all the nodes that share them."""

    graph: Graph
    statistics: Statistics | None
    _names: dict[object, str] = field(default_factory=dict)
    _made: dict[object, QuantizedWeights] = field(default_factory=dict)

    def quantized(
        self, unit: Unit, scheme: Scheme, round_scale: RoundScale | None = None
    ) -> QuantizedWeights:
        """The integers for a unit's weights.

        An embedding takes those of a product that it is tied to, whose rounding has the better
        grounds, so that one constant serves both. Products have to come first.
        """
        weights = unit.weights(self.graph)
        alike = scheme.model_copy(
            update={"activations": "float32", "ranges": None, "rounding": "nearest", "seed": 0}
        )
        key = alike, _key(weights)
        if unit.is_embedding and key in self._made:
            return self._made[key]
        covariance = None
        if scheme.rounding == "gptq" and self.statistics is not None and not unit.is_embedding:
            covariance = self.statistics.covariance(unit.input)
        made = quantize_weights(
            weights,
            scheme,
            covariance=covariance,
            round_scale=round_scale,
            name=unit.node.name,
        )
        self._made[key] = made
        return made

    def affine(self, unit: Unit, scheme: Scheme, made: QuantizedWeights) -> Stored:
        """Integers in the order of the file, and one scale and zero point or one a channel."""
        data_type, kind = _DATA_TYPES[scheme.weights]
        integers = unit.in_file(made.integers.astype(kind))
        shape = (-1,) if scheme.granularity == "per-channel" else ()
        zero_point = made.zero_point.astype(kind).reshape(shape)
        name = unit.weight
        return Stored(
            self._once(integers, f"{name}_quantized", name, data_type),
            self._once(made.scale.reshape(shape), f"{name}_scale", name),
            self._once(zero_point, f"{name}_zero_point", name, data_type),
        )

    def dequantized(self, unit: Unit, scheme: Scheme, made: QuantizedWeights) -> str:
        """What DequantizeLinear makes of the weights: a tensor in the order of the file."""
        stored = self.affine(unit, scheme, made)
        if stored not in self._names:
            output = self.graph.name(f"{unit.weight}_DequantizeLinear_Output")
            node = helper.make_node(
                "DequantizeLinear",
                [stored.integers, stored.scale, stored.zero_point],
                [output],
                self.graph.name(f"{unit.weight}_DequantizeLinear"),
                axis=unit.axis,
                domain=self.graph.quantization_domain(_DATA_TYPES[scheme.weights][0]),
            )
            self.graph.prelude.append(node)
            self._names[stored] = output
        return self._names[stored]

    def blocks(self, unit: Unit, scheme: Scheme) -> Stored:
        """Weights in the layout of MatMulNBits, of [out, in] whatever the order in the file.

        Integers are uint8 [out, blocks, bytes of a block], where 4 bits go two to a byte, the first
        in the lower half, and lie 2^(bits-1) higher than signed ones; zero points, if any, are
        packed in the same way along the blocks (ONNX Runtime, ContribOperators.md, MatMulNBits).
        Scales are stored as float16 where it can hold them, and cast when the model is loaded.
        """
        packed, scale, zero_point = self._packed(unit, scheme)
        name = self._once(packed, f"{unit.weight}_Q{bits_of(scheme)}")
        return Stored(name, scale, zero_point)

    def rows(self, unit: Unit, scheme: Scheme) -> Stored:
        """The same for GatherBlockQuantized: integers are uint8 [rows, bytes of a row].

        Where the bytes of blocks are there already (those of a last layer that is tied to the
        embedding), they are taken.
        """
        packed, scale, zero_point = self._packed(unit, scheme)
        bits = bits_of(scheme)
        rows = packed.reshape(len(packed), -1)
        length = -(-unit.weights(self.graph).shape[1] * bits // 8)
        tied = self._names.get(("", None, *_key(packed)))
        if tied is None or rows.shape[1] != length:
            name = self._once(rows[:, :length], f"{unit.weight}_Q{bits}")
            return Stored(name, scale, zero_point)
        output = self.graph.name(f"{tied}_rows")
        shape = self.graph.add(np.array([0, -1]), f"{output}_shape")
        name = self.graph.name(f"{output}_Reshape")
        self.graph.prelude.append(helper.make_node("Reshape", [tied, shape], [output], name))
        return Stored(output, scale, zero_point)

    def _packed(self, unit: Unit, scheme: Scheme) -> tuple[Bytes, str, str | None]:
        """Bytes [out, blocks, bytes of a block], and the names of scales and zero points."""
        weights = unit.weights(self.graph)
        out, inner = weights.shape
        bits, size = bits_of(scheme), block_size(scheme, inner)
        largest = float(np.abs(weights).max(initial=0.0))
        half = _HALF_RANGE[0] <= largest <= _HALF_RANGE[1]
        made = self.quantized(unit, scheme, _to_half if half else None)
        count = -(-inner // size)
        shape = (-1, count) if scheme.granularity == "blockwise" else (-1, 1)
        scale = np.broadcast_to(made.scale.reshape(shape), (out, count))
        zero_point = np.broadcast_to(made.zero_point.reshape(shape), (out, count))
        middle = 1 << (bits - 1)
        offset = middle if made.grid.signed else 0
        padded = np.full((out, count * size), middle, np.uint8)
        padded[:, :inner] = made.integers + offset
        packed = _pack(padded, bits).reshape(out, count, -1)
        stored = None
        if not scheme.symmetric_weights:
            values = _pack((zero_point + offset).astype(np.uint8), bits)
            stored = self._once(values, f"{unit.weight}_zero_points")
        return packed, self._scales(unit, scale, half), stored

    def _scales(self, unit: Unit, scale: Floats, half: bool) -> str:
        wanted = f"{unit.weight}_scales"
        if not half:
            return self._once(scale, wanted)
        stored = self._once(scale.astype(np.float16), f"{wanted}_half")
        if stored not in self._names:
            output = self.graph.name(wanted)
            name = self.graph.name(f"{wanted}_Cast")
            node = helper.make_node("Cast", [stored], [output], name, to=TensorProto.FLOAT)
            self.graph.prelude.append(node)
            self._names[stored] = output
        return self._names[stored]

    def _once(
        self, array: npt.NDArray[Any], wanted: str, owner: str = "", data_type: int | None = None
    ) -> str:
        """A constant with these values; one that is there already where owner and values agree."""
        key = (owner, data_type, *_key(array))
        if key not in self._names:
            self._names[key] = self.graph.add(array, wanted, data_type)
        return self._names[key]


def bits_of(scheme: Scheme) -> int:
    """Of one weight in the file."""
    return 4 if scheme.weights == "int4" else 8


def block_size(scheme: Scheme, inner: int) -> int:
    """A power of two: the scheme's, or where it has none the least that holds a whole row."""
    return scheme.block_size or max(_SMALLEST_BLOCK, 1 << (inner - 1).bit_length())


def _key(array: npt.NDArray[Any]) -> tuple[object, ...]:
    """What tells one array's values from another's."""
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
    return str(array.dtype), array.shape, digest


def _pack(values: Bytes, bits: int) -> Bytes:
    """Along the last axis: two values to a byte where they have 4 bits."""
    if bits == 8:
        return values
    even = np.pad(values, ((0, 0), (0, values.shape[1] % 2)))
    return np.asarray(even[:, ::2] | even[:, 1::2] << 4)


def _to_half(scale: Floats) -> Floats:
    return np.maximum(scale, _SMALLEST_HALF).astype(np.float16).astype(np.float32)
