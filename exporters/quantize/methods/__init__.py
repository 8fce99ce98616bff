"""Ways to find the range that a tensor's integers stand for, one file for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..grid import Doubles, Grid
from ..recipe import RangeMethod, RangeName
from . import entropy, min_max, moving_average, mse, percentile

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics

_METHODS: dict[RangeName, Callable[..., tuple[Doubles, Doubles]]] = {
    "min-max": min_max.find,
    "moving-average": moving_average.find,
    "percentile": percentile.find,
    "mse": mse.find,
    "entropy": entropy.find,
}


def find_range(
    statistics: TensorStatistics, grid: Grid, method: RangeMethod
) -> tuple[Doubles, Doubles]:
    """The range of each channel by a method: (low, high), float64 [channels].

    It is never wider than what was seen; 0 to 0 for channels without a value.
    """
    options = {} if method.percentile is None else {"percentile": method.percentile}
    return _METHODS[method.method](statistics, grid, **options)
