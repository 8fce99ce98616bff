"""Ranges that make the expected squared error of quantization smallest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..grid import Doubles, Grid
from . import min_max

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics

#: Ends tried on each side, first over the whole range, then about the best one.
_TRIED = 96


def find(statistics: TensorStatistics, grid: Grid) -> tuple[Doubles, Doubles]:
    """Weighs what is clipped against the finer steps that a narrower range has.

    The error of a range with steps of size D is the squared distance to it of each value outside,
    D^2 / 12 for each inside, and x^2 for each that is rounded to zero (|x| < D / 2; zero itself is
    always exact, and so is a bound that the range ends at). Values are taken as spread evenly
    within their bins of the histogram. The best pair of ends is searched among the bins' edges and
    the extremes.

    Source: the objective of Nagel et al. 2021, arXiv:2106.08295, section 3.1 (MSE); its split into
    clipping and rounding noise of Banner et al. 2019, arXiv:1810.05723 (ACIQ), here with the
    histogram in place of a fitted distribution.

    Returns:
        (low, high), float64 [channels]; 0 for channels without a value.
    """
    lows, highs = min_max.find(statistics, grid)
    for channel in np.flatnonzero(lows < highs):
        lows[channel], highs[channel] = _Channel(statistics, int(channel)).best(grid)
    return lows, highs


class _Channel:
    """Partial moments of one channel's histogram, from which the error of any range follows."""

    def __init__(self, statistics: TensorStatistics, channel: int) -> None:
        edges = statistics.edges(channel)
        low, high = statistics.minimum[channel], statistics.maximum[channel]
        first = int(np.searchsorted(edges, low, side="right")) - 1
        last = min(int(np.searchsorted(edges, high, side="right")), edges.size - 1)
        counts = statistics.counts[channel].astype(np.float64)
        counts[counts.size // 2] -= statistics.zeros[channel]
        masses = counts[first:last]
        # In units of the limit, a power of two: squares stay within float64, and ends exact.
        self._unit = statistics.limit[channel]
        self._edges = np.clip(edges[first : last + 1], low, high) / self._unit
        left, right = self._edges[:-1], self._edges[1:]
        widths = right - left
        # The last bin has no width where the maximum is its lower edge: all of it is the maximum,
        # as with a ReLU6, and exact where the range ends there.
        self._exact_at_top = masses[-1] if widths[-1] == 0 else 0.0
        self._densities = np.divide(masses, widths, out=np.zeros_like(masses), where=widths > 0)
        means = [np.ones_like(left), (left + right) / 2, (left**2 + left * right + right**2) / 3]
        self._sums = [np.concatenate(([0.0], np.cumsum(masses * mean))) for mean in means]

    def best(self, grid: Grid) -> tuple[float, float]:
        """The ends with the smallest error."""
        edges = self._edges
        below, above = -edges[edges < 0][::-1], edges[edges > 0]
        if grid.symmetric:
            reach = _search(lambda t: self._errors(-t, t, grid), np.union1d(below, above))
            low, high = -reach[0], reach[0]
        else:
            # A side without values ends at zero, which every range holds.
            sides = [side if side.size else np.zeros(1) for side in (below, above)]
            reach = _search(lambda down, up: self._errors(-down, up, grid), *sides)
            low, high = -reach[0], reach[1]
        # 0.0 added: a range does not begin at -0.
        ends = np.clip([low, high], edges[0], edges[-1]) * self._unit + 0.0
        return float(ends[0]), float(ends[1])

    def _errors(self, low: Doubles, high: Doubles, grid: Grid) -> Doubles:
        """Summed squared errors of ranges that hold zero; `low` and `high` broadcast."""
        step = (high - low) / grid.steps
        if grid.symmetric and not grid.signed:
            # The middle of the type has one integer less above it than below.
            low, high = low - step / 2, high - step / 2
        low_moments, high_moments = self._moments(low), self._moments(high)
        all_moments = [sums[-1] for sums in self._sums]
        clipped_low = low**2 * low_moments[0] - 2 * low * low_moments[1] + low_moments[2]
        tail = [whole - part for whole, part in zip(all_moments, high_moments, strict=True)]
        clipped_high = high**2 * tail[0] - 2 * high * tail[1] + tail[2]
        from_zero = self._moments(np.maximum(-step / 2, low))
        to_zero = self._moments(np.minimum(step / 2, high))
        rounded = (high_moments[0] - low_moments[0]) - (to_zero[0] - from_zero[0])
        rounded = rounded - self._exact_at_top * (high == self._edges[-1])
        errors: Doubles = (
            clipped_low + clipped_high + step**2 / 12 * rounded + (to_zero[2] - from_zero[2])
        )
        return errors

    def _moments(self, ends: Doubles) -> list[Doubles]:
        """Sums of 1, x and x^2 over the values below each end."""
        edges = self._edges
        bins = np.clip(np.searchsorted(edges, ends, side="right") - 1, 0, edges.size - 2)
        left = edges[bins]
        within = np.clip(ends, left, edges[bins + 1])
        moments = []
        for power, sums in enumerate(self._sums, start=1):
            part = self._densities[bins] * (within**power - left**power) / power
            moments.append(np.where(ends >= edges[-1], sums[-1], sums[bins] + part))
        return moments


def _search(errors: Callable[..., Doubles], *sides: Doubles) -> list[float]:
    """The place on each of the sides where the errors are smallest, from coarse to fine."""
    tried = [_spread(side) for side in sides]
    for _ in range(2):
        found = errors(*np.ix_(*tried))
        best = np.unravel_index(int(np.argmin(found)), found.shape)
        chosen = [float(places[i]) for places, i in zip(tried, best, strict=True)]
        tried = [_about(*each) for each in zip(tried, best, sides, strict=True)]
    return chosen


def _spread(side: Doubles) -> Doubles:
    """Some places of an ascending side: every so many of them, and more where they are small."""
    evenly = np.linspace(0, side.size - 1, _TRIED // 2)
    growing = np.geomspace(1, side.size, _TRIED // 2) - 1
    spread: Doubles = side[np.unique(np.rint(np.concatenate((evenly, growing))).astype(np.int64))]
    return spread


def _about(tried: Doubles, best: np.intp, side: Doubles) -> Doubles:
    """All places between the neighbours of the best one, and the widest."""
    first, last = tried[max(int(best) - 1, 0)], tried[min(int(best) + 1, tried.size - 1)]
    chosen = (side >= first) & (side <= last)
    chosen[-1] = True
    about: Doubles = side[chosen]
    return about
