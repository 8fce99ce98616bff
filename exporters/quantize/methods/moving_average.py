"""Moving averages of the samples' extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..grid import Doubles, Grid

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics


def find(statistics: TensorStatistics, grid: Grid) -> tuple[Doubles, Doubles]:
    """Exponential moving averages of each sample's smallest and largest value.

    They begin at the first sample's; each later one counts 1%. Source: Jacob et al. 2018,
    arXiv:1712.05877, section 3.1; PyTorch, MovingAverageMinMaxObserver (its default 0.01).

    Returns:
        (low, high), float64 [channels]; 0 for channels without a value.
    """
    return statistics.average_minimum, statistics.average_maximum
