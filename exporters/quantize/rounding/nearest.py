"""Each weight to its nearest integer."""

from __future__ import annotations

from ..grid import Integers
from .base import Problem


def nearest(problem: Problem) -> Integers:
    """The least error of each weight; halves to even."""
    return problem.grid.quantize(problem.weights, problem.scale, problem.zero_point)
