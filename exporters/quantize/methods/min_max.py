"""The extremes of everything that was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..grid import Doubles, Grid

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics


def find(statistics: TensorStatistics, grid: Grid) -> tuple[Doubles, Doubles]:
    """The smallest and the largest value of each channel: nothing is clipped.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.1.

    Returns:
        (low, high), float64 [channels]; 0 for channels without a value.
    """
    seen = statistics.count > 0
    return np.where(seen, statistics.minimum, 0.0), np.where(seen, statistics.maximum, 0.0)
