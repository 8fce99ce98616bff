"""Weights of one layer as integers, by a scheme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from .grid import Doubles, Floats, Grid, Integers
from .recipe import Granularity, Rounding, Scheme
from .rounding import ROUNDINGS, Problem

RoundScale = Callable[[Floats], Floats]
_Numbers = TypeVar("_Numbers", Floats, Integers)

#: Bits of each type of weight.
_BITS = {"int8": 8, "uint8": 8, "int4": 4}

_ACTIVATION_TYPES = {"int8": (8, True), "uint8": (8, False), "int16": (16, True)}

#: Shares of the whole range that 'mse' tries: dense near 1, where those of 8 bits lie.
_SHARES = 1 - 0.9 * np.linspace(0, 1, 31) ** 2

#: Weights whose errors are found at a time: few enough to stay in the processor's cache.
_CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """Integers that stand for the weights of a layer.

    Attributes:
        integers: int32, in the shape of the weights, whatever the type in the file.
        scale, zero_point: float32 and int32; of shape (1,) per tensor, (out,) per channel,
            (out, ceil(in / block)) blockwise. The last block may be short.
        block_size: None unless blockwise.
        rounding: what was used: 'nearest' where 'gptq' had no covariance of the inputs.
    """

    integers: Integers
    scale: Floats
    zero_point: Integers
    grid: Grid
    granularity: Granularity
    block_size: int | None
    rounding: Rounding

    def dequantized(self) -> Floats:
        """What the integers stand for, float32 of the weights' shape."""
        matrix = self.integers.reshape(len(self.integers), -1)
        scale = _spread(self.scale, matrix.shape[1], self.block_size)
        zero_point = _spread(self.zero_point, matrix.shape[1], self.block_size)
        return self.grid.dequantize(matrix, scale, zero_point).reshape(self.integers.shape)


def weight_grid(scheme: Scheme) -> Grid:
    """The integers that a scheme's weights may be.

    `reduce_range` takes 7 bits. ONNX Runtime's own goes to ±64, which is the most whose products
    with two unsigned bytes fit 16 bits (2 * 255 * 64 = 32640); symmetric 7 bits stay within ±63.

    Raises:
        UsageError: the scheme has no integers for weights.
    """
    bits = _BITS.get(scheme.weights)
    if bits is None:
        raise UsageError(f"weights of type {scheme.weights} are no integers")
    return Grid(
        bits=7 if scheme.reduce_range else bits,
        signed=scheme.weights != "uint8",
        symmetric=scheme.symmetric_weights,
        full=scheme.weights == "int4" and scheme.symmetric_weights,
    )


def activation_grid(scheme: Scheme) -> Grid:
    """The integers that a scheme's static activations may be."""
    bits, signed = _ACTIVATION_TYPES[scheme.activations]
    return Grid(bits, signed, scheme.symmetric_activations)


def can_use_gptq(weights: Floats, covariance: Floats | None) -> bool:
    """Whether 'gptq' has what it takes: the covariance of just the inputs that a row multiplies.

    So it is for matrix products and 1x1 convolutions of one group; other convolutions multiply
    neighbouring pixels, of which statistics know nothing.
    """
    columns = weights[0].size
    return covariance is not None and covariance.shape == (columns, columns)


def quantize_weights(
    weights: Floats,
    scheme: Scheme,
    *,
    covariance: Floats | None = None,
    round_scale: RoundScale | None = None,
    name: str = "",
) -> QuantizedWeights:
    """Scales and integers for the weights of one layer.

    Args:
        weights: float32 [out, in / groups, height, width] or [out, in], as in `Layer`.
        covariance: E[x xᵀ] of the inputs, float32 [in, in]; only 'gptq' takes it, and rounds to
            nearest where it has none or it does not fit (`can_use_gptq`).
        round_scale: brings scales, those of the whole layer at once, to what the file can hold,
            before any weight is rounded.
        name: the layer's, for messages.

    Returns:
        The integers; channels or blocks of nothing but zeros have scale 1.

    Raises:
        UsageError: weights are not finite, or not a matrix though the scheme has blocks.
    """
    grid = weight_grid(scheme)
    try:
        matrix = _as_matrix(weights, scheme)
    except UsageError as error:
        raise UsageError(
            f"{name}: {error.message}" if name else error.message, hint=error.hint
        ) from error
    scale, zero_point = _parameters(matrix, grid, scheme, round_scale or (lambda scales: scales))
    usable = can_use_gptq(weights, covariance)
    rounding = "nearest" if scheme.rounding == "gptq" and not usable else scheme.rounding
    columns = matrix.shape[1]
    problem = Problem(
        weights=matrix,
        grid=grid,
        scale=_spread(scale, columns, scheme.block_size),
        zero_point=_spread(zero_point, columns, scheme.block_size),
        covariance=covariance if usable else None,
        seed=scheme.seed,
    )
    return QuantizedWeights(
        integers=ROUNDINGS[rounding](problem).reshape(weights.shape),
        scale=scale,
        zero_point=zero_point,
        grid=grid,
        granularity=scheme.granularity,
        block_size=scheme.block_size,
        rounding=rounding,
    )


def _as_matrix(weights: Floats, scheme: Scheme) -> Floats:
    """The weights as [out, all that an output multiplies]."""
    if not np.isfinite(weights).all():
        raise UsageError("weights are NaN or infinite", hint="check the training of the model")
    if scheme.block_size is not None and any(size != 1 for size in weights.shape[2:]):
        height_width = "x".join(map(str, weights.shape[2:]))
        raise UsageError(
            f"blocks of {scheme.block_size} weights are for matrix products and 1x1 convolutions, "
            f"not for a {height_width} convolution",
            hint="use granularity 'per-channel' for it",
        )
    return weights.reshape(len(weights), -1)


def _parameters(
    matrix: Floats, grid: Grid, scheme: Scheme, round_scale: RoundScale
) -> tuple[Floats, Integers]:
    """Scale and zero point of each tensor, channel or block."""
    lows = _reduced(np.minimum, matrix, scheme)
    highs = _reduced(np.maximum, matrix, scheme)

    def narrowed(shares: Doubles) -> tuple[Floats, Integers]:
        scale, zero_point = grid.parameters(lows * shares, highs * shares)
        return round_scale(scale), zero_point

    best = np.ones(lows.shape)
    if scheme.weight_ranges == "min-max":
        return narrowed(best)
    least = np.full(lows.shape, np.inf)
    for share in _SHARES:
        scale, zero_point = narrowed(np.full(lows.shape, share))
        errors = _squared_errors(matrix, grid, scale, zero_point, scheme)
        best = np.where(errors < least, share, best)
        least = np.minimum(errors, least)
    return narrowed(best)


def _squared_errors(
    matrix: Floats, grid: Grid, scale: Floats, zero_point: Integers, scheme: Scheme
) -> Doubles:
    """What rounding to nearest costs the tensor, each channel, or each block."""
    rows, columns = max(1, _CHUNK // matrix.shape[1]), matrix.shape[1]
    found = []
    for start in range(0, len(matrix), rows):
        own = slice(None) if scheme.granularity == "per-tensor" else slice(start, start + rows)
        scales = _spread(scale[own], columns, scheme.block_size)
        zero_points = _spread(zero_point[own], columns, scheme.block_size)
        part = matrix[start : start + rows]
        integers = grid.quantize(part, scales, zero_points)
        lost = grid.dequantize(integers, scales, zero_points).astype(np.float64) - part
        found.append(_reduced(np.add, lost * lost, scheme))
    return np.sum(found, axis=0) if scheme.granularity == "per-tensor" else np.concatenate(found)


def _reduced(function: np.ufunc, matrix: npt.NDArray[np.floating], scheme: Scheme) -> Doubles:
    """One number for the tensor, for each channel, or for each block."""
    wide = matrix.astype(np.float64, copy=False)
    if scheme.granularity == "per-tensor":
        return np.asarray(function.reduce(wide, axis=None)).reshape(1)
    if scheme.block_size is None:
        return np.asarray(function.reduce(wide, axis=1))
    starts = np.arange(0, matrix.shape[1], scheme.block_size)
    return np.asarray(function.reduceat(wide, starts, axis=1))


def _spread(values: _Numbers, columns: int, block_size: int | None) -> _Numbers:
    """Scales or zero points in a shape that broadcasts to that of the matrix."""
    if block_size is None:
        return values[:, None]
    return np.repeat(values, block_size, axis=1)[:, :columns]
