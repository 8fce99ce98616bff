"""What every way of rounding is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..grid import Floats, Grid, Integers


@dataclass(frozen=True, eq=False)
class Problem:
    """A matrix of weights to be rounded, with the scales that it is to have.

    Attributes:
        weights: float32 [out, in].
        scale, zero_point: float32 and int32, of shapes that broadcast to that of the weights.
        covariance: float32 [in, in], E[x xᵀ] of the inputs, uncentred; None where unknown.
        seed: of methods that draw random numbers.
    """

    weights: Floats
    grid: Grid
    scale: Floats
    zero_point: Integers
    covariance: Floats | None
    seed: int

    def dequantized(self, integers: Integers) -> Floats:
        """The weights that the integers stand for, float32 [out, in]."""
        return self.grid.dequantize(integers, self.scale, self.zero_point)


RoundingMethod = Callable[[Problem], Integers]
"""Gives integers on the grid, int32 of the weights' shape."""
