"""The ONNX operators that multiply uint8 with int8, computed with and without saturation.

Rounding is that of ONNX Runtime (mlas/lib/quantize.cpp, MlasRequantizeOutput): scale in float32,
clamp, round half to even.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .products import Sums, columns_of, lost, product

Array = npt.NDArray[Any]
Operands = tuple[Array | None, ...]


@dataclass(frozen=True)
class Product:
    """One node that may saturate.

    Attributes:
        compute: (operands in the node's order, attributes, whether to saturate) -> output.
        activation: position of the uint8 operand; of float values where it is quantized inside.
        weights: position of the int8 operand.
    """

    compute: Callable[[Operands, Mapping[str, Any], bool], Array]
    activation: int
    weights: int


def _sums(a: Array, b: Array, zero_a: int, zero_b: Array, saturating: bool) -> Sums:
    """Of (a - zero_a) times (b - zero_b): the zero points are taken off the sums afterwards.

    Args:
        a: uint8, [rows, inner].
        b: int8, [inner, columns].
        zero_b: one, or one for each column.
    """
    total = product(a, b)
    if saturating:
        total = total - lost(a, b)
    zeros = zero_b.astype(np.int64).reshape(-1)
    total -= zero_a * b.astype(np.int64).sum(axis=0)
    if zeros.any():
        total -= zeros * (a.astype(np.int64).sum(axis=1, keepdims=True) - zero_a * a.shape[1])
    return total


def _requantized(sums: Sums, scale: Array, zero: Array | None, like: np.dtype[Any]) -> Array:
    limits = np.iinfo(like)
    shift = 0 if zero is None else int(zero.reshape(-1)[0])
    real = sums.astype(np.float32) * scale.astype(np.float32)
    real = np.clip(real, np.float32(limits.min - shift), np.float32(limits.max - shift))
    return (np.rint(real).astype(np.int64) + shift).astype(like)


def _zero(value: Array | None, like: type[np.integer[Any]] = np.int8) -> Array:
    return np.zeros(1, dtype=like) if value is None else value.reshape(-1)


def _one(value: Array | None) -> int:
    return 0 if value is None else int(value.reshape(-1)[0])


def _matmul(a: Array, b: Array, zero_a: int, zero_b: Array, saturating: bool) -> Sums:
    """Batched, as numpy.matmul; the weights are one matrix or one for each of the batch."""
    if b.ndim == 2:
        flat = _sums(a.reshape(-1, a.shape[-1]), b, zero_a, zero_b, saturating)
        return flat.reshape(*a.shape[:-1], b.shape[-1])
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = np.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
    right = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    parts = [_sums(x, y, zero_a, zero_b, saturating) for x, y in zip(left, right, strict=True)]
    return np.stack(parts).reshape(*batch, a.shape[-2], b.shape[-1])


def _convolved(
    x: Array, w: Array, zero_x: int, zero_w: Array, options: Mapping[str, Any], saturating: bool
) -> Sums:
    """Of shape [batch, channels out, *spatial]."""
    groups = int(options.get("group", 1))
    kernel = tuple(w.shape[2:])
    rank = len(kernel)
    strides = tuple(options.get("strides") or (1,) * rank)
    dilations = tuple(options.get("dilations") or (1,) * rank)
    pads = _pads(x.shape[2:], kernel, strides, dilations, options)
    spatial = tuple(
        (size + before + after - (k - 1) * d - 1) // s + 1
        for size, k, s, d, before, after in zip(
            x.shape[2:], kernel, strides, dilations, pads[:rank], pads[rank:], strict=True
        )
    )
    inputs, outputs = x.shape[1] // groups, w.shape[0] // groups
    # Depthwise convolutions have kernels of their own, which add in 32 bits.
    overflows = saturating and not (groups > 1 and inputs == 1 and outputs == 1)
    zeros = np.broadcast_to(zero_w, (w.shape[0],))
    batch = []
    for sample in x:
        parts = []
        for group in range(groups):
            patches = columns_of(
                sample[group * inputs : (group + 1) * inputs],
                kernel, strides, dilations, pads, zero_x,
            )  # fmt: skip
            mine = slice(group * outputs, (group + 1) * outputs)
            weights = np.moveaxis(w[mine], (0, 1), (-1, -2)).reshape(-1, outputs)
            parts.append(_sums(patches, weights, zero_x, zeros[mine], overflows))
        batch.append(np.hstack(parts).T.reshape(-1, *spatial))
    return np.stack(batch)


def _pads(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    options: Mapping[str, Any],
) -> tuple[int, ...]:
    """Padding before each dimension, then after each (ONNX, Conv: `auto_pad`)."""
    automatic = options.get("auto_pad", "NOTSET")
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(options.get("pads") or (0,) * 2 * len(kernel))
    before, after = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if automatic == "SAME_UPPER" else large)
        after.append(large if automatic == "SAME_UPPER" else small)
    return (*before, *after)


def _qlinear_conv(operands: Operands, options: Mapping[str, Any], saturating: bool) -> Array:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *rest = (*operands, None)[:9]
    assert x is not None and w is not None and x_scale is not None
    assert w_scale is not None and y_scale is not None
    sums = _convolved(x, w, _one(x_zero), _zero(w_zero), options, saturating)
    along = (1, -1, *(1,) * (x.ndim - 2))
    if rest[0] is not None:
        sums = sums + rest[0].astype(np.int64).reshape(along)
    scale = (x_scale.reshape(-1) * w_scale.reshape(-1)) / y_scale.reshape(-1)
    return _requantized(sums, scale.reshape(along), y_zero, _type_of(y_zero))


def _type_of(zero: Array | None) -> np.dtype[Any]:
    return np.dtype(np.uint8) if zero is None else zero.dtype


def _qlinear_matmul(operands: Operands, _: Mapping[str, Any], saturating: bool) -> Array:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
    assert a is not None and b is not None and a_scale is not None
    assert b_scale is not None and y_scale is not None
    sums = _matmul(a, b, _one(a_zero), _zero(b_zero), saturating)
    scale = (a_scale.reshape(-1) * b_scale.reshape(-1)) / y_scale.reshape(-1)
    return _requantized(sums, scale, y_zero, _type_of(y_zero))


def _qgemm(operands: Operands, options: Mapping[str, Any], saturating: bool) -> Array:
    a, a_scale, a_zero, b, b_scale, b_zero, bias, y_scale, y_zero = (*operands, *(None,) * 3)[:9]
    assert a is not None and b is not None and a_scale is not None and b_scale is not None
    left = a.T if options.get("transA") else a
    right = b.T if options.get("transB") else b
    sums = _matmul(left, right, _one(a_zero), _zero(b_zero), saturating)
    if bias is not None:
        sums = sums + bias.astype(np.int64)
    scale = np.float32(options.get("alpha", 1.0)) * a_scale.reshape(-1) * b_scale.reshape(-1)
    if y_scale is None:
        return sums.astype(np.float32) * scale.astype(np.float32)
    return _requantized(sums, scale / y_scale.reshape(-1), y_zero, _type_of(y_zero))


def _matmul_to_float(operands: Operands, _: Mapping[str, Any], saturating: bool) -> Array:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (*operands, *(None,) * 3)[:7]
    assert a is not None and b is not None and a_scale is not None and b_scale is not None
    sums = _matmul(a, b, _one(a_zero), _zero(b_zero), saturating)
    real: Array = sums.astype(np.float32) * (a_scale.reshape(-1) * b_scale.reshape(-1))
    return real if bias is None else real + bias


def _dynamic_matmul(operands: Operands, options: Mapping[str, Any], saturating: bool) -> Array:
    a, b, b_scale, b_zero, bias = (*operands, *(None,) * 2)[:5]
    assert a is not None
    quantized, scale, zero = _dynamically_quantized(a)
    return _matmul_to_float((quantized, b, scale, b_scale, zero, b_zero, bias), options, saturating)


def _dynamically_quantized(a: Array) -> tuple[Array, Array, Array]:
    """As DynamicQuantizeLinear of ONNX: uint8, with a range that holds zero."""
    least = np.minimum(a.min(initial=0.0), np.float32(0))
    most = np.maximum(a.max(initial=0.0), np.float32(0))
    scale = np.float32((most - least) / np.float32(255)) or np.float32(1)
    zero = np.uint8(np.clip(np.rint(-least / scale), 0, 255))
    quantized = np.clip(np.rint(a / scale) + np.float32(zero), 0, 255).astype(np.uint8)
    return quantized, np.asarray([scale], np.float32), np.asarray([zero], np.uint8)


def _matmul_integer(operands: Operands, _: Mapping[str, Any], saturating: bool) -> Array:
    a, b, a_zero, b_zero = (*operands, *(None,) * 2)[:4]
    assert a is not None and b is not None
    return _matmul(a, b, _one(a_zero), _zero(b_zero), saturating).astype(np.int32)


#: By operator, whatever its domain.
PRODUCTS: dict[str, Product] = {
    "QLinearConv": Product(_qlinear_conv, 0, 3),
    "QLinearMatMul": Product(_qlinear_matmul, 0, 3),
    "QGemm": Product(_qgemm, 0, 3),
    "MatMulIntegerToFloat": Product(_matmul_to_float, 0, 1),
    "DynamicQuantizeMatMul": Product(_dynamic_matmul, 0, 1),
    "MatMulInteger": Product(_matmul_integer, 0, 1),
}
