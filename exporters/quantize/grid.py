"""The integers that stand for reals: affine quantization of one tensor or of its channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Grid:
    """real = (integer - zero_point) * scale (Jacob et al. 2018, arXiv:1712.05877, equation 1).

    Attributes:
        bits: 2 to 16.
        signed: whether the integers are.
        symmetric: the zero point is the middle of the type (0 where signed), and the range has the
            same reach on both sides. Signed symmetric grids leave the lowest integer out, as the
            TFLite 8-bit quantization specification does.
        full: a signed symmetric grid that uses the lowest integer, too, so that its range reaches
            one step further down: worth it at 4 bits, where that is one level of sixteen.
    """

    bits: int
    signed: bool
    symmetric: bool
    full: bool = False

    @property
    def lowest(self) -> int:
        """The smallest integer used."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self.symmetric and not self.full)

    @property
    def highest(self) -> int:
        """The largest integer used."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def steps(self) -> int:
        """How many scales the whole range spans."""
        return self.highest - self.lowest

    def parameters(self, low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[Floats, Integers]:
        """Scale and zero point that represent [low, high], element by element.

        Ranges are widened to hold zero, which padding and ReLU need exact (Jacob et al. 2018,
        section 2.1). A range of nothing but zero has scale 1.

        Returns:
            scale, float32 and normal; zero_point, int32. Both of the shape of `low`.
        """
        lows = np.minimum(np.asarray(low, dtype=np.float64), 0.0)
        highs = np.maximum(np.asarray(high, dtype=np.float64), 0.0)
        if self.symmetric:
            reach = np.maximum(-lows, highs)
            scale = _scale(
                np.maximum(lows / self.lowest, highs / self.highest)
                if self.signed
                else 2 * reach / self.steps
            )
            zero_point = np.full(scale.shape, 0.0 if self.signed else 1 << (self.bits - 1))
        else:
            scale = _scale((highs - lows) / self.steps)
            zero_point = np.rint(self.lowest - lows / scale.astype(np.float64))
            zero_point = np.clip(zero_point, self.lowest, self.highest)
        # Every integer has to stand for a finite float32.
        widest = np.maximum(zero_point - self.lowest, self.highest - zero_point)
        greatest = _below(np.finfo(np.float32).max / widest)
        return np.minimum(scale, greatest), zero_point.astype(np.int32)

    def quantize(self, values: npt.ArrayLike, scale: Floats, zero_point: Integers) -> Integers:
        """The nearest integers, halves to even; `scale` and `zero_point` broadcast."""
        reals = np.asarray(values, dtype=np.float64)
        scaled = np.rint(reals / scale.astype(np.float64)) + zero_point
        return np.clip(scaled, self.lowest, self.highest).astype(np.int32)

    def dequantize(self, integers: Integers, scale: Floats, zero_point: Integers) -> Floats:
        """The reals that the integers stand for."""
        reals = (integers - zero_point).astype(np.float64) * scale.astype(np.float64)
        return reals.astype(np.float32)


def _scale(reach: Doubles) -> Floats:
    """float32 scales; 1 for a range of zero, and no subnormal, which kernels flush to zero."""
    smallest = float(np.finfo(np.float32).tiny)
    return np.where(reach == 0, 1.0, np.maximum(reach, smallest)).astype(np.float32)


def _below(values: Doubles) -> Floats:
    """float32 that are no greater."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(0)), rounded)
