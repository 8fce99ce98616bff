"""Ranges that leave out a share of the values at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..grid import Doubles, Grid
from . import min_max

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics


def find(statistics: TensorStatistics, grid: Grid, *, percentile: float) -> tuple[Doubles, Doubles]:
    """Keeps at least `percentile` per cent of the values, and leaves out as many at either end.

    Ends are rounded outwards to the histogram's bins. Source: McKinstry et al. 2018,
    arXiv:1809.04191; Wu et al. 2020, arXiv:2004.09602, on calibration.

    Returns:
        (low, high), float64 [channels]; 0 for channels without a value.
    """
    minimum, maximum = min_max.find(statistics, grid)
    bins = statistics.counts.shape[1]
    total = statistics.counts.sum(axis=1)
    # Whole values that may be left out at each end; 0.1 * 40 in floating point is not below 4.
    tail = np.floor((100 - percentile) / 200 * total + 1e-6).astype(np.int64)[:, None]
    below = np.cumsum(statistics.counts, axis=1)
    above = np.cumsum(statistics.counts[:, ::-1], axis=1)
    first, last = (below <= tail).sum(axis=1), bins - (above <= tail).sum(axis=1)
    width = 2 * statistics.limit / bins
    low, high = first * width - statistics.limit, last * width - statistics.limit
    return np.clip(low, minimum, maximum), np.clip(high, minimum, maximum)
