"""Ways to round weights to integers, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from ..recipe import Rounding
from .base import Problem, RoundingMethod
from .gptq import gptq
from .nearest import nearest
from .stochastic import stochastic

ROUNDINGS: Mapping[Rounding, RoundingMethod] = {
    "nearest": nearest,
    "stochastic": stochastic,
    "gptq": gptq,
}

__all__ = ["ROUNDINGS", "Problem", "RoundingMethod"]
