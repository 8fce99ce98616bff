"""Ranges that lose the least information, by the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..grid import Doubles, Grid
from . import min_max

if TYPE_CHECKING:
    from ..tensor_statistics import TensorStatistics

#: Ranges compared at a time.
_TRIED = 128
#: How often each end is moved while the other rests.
_ROUNDS = 3

Places = npt.NDArray[np.int64]


def find(statistics: TensorStatistics, grid: Grid) -> tuple[Doubles, Doubles]:
    """Clips where the quantized histogram tells least apart from the one that was seen.

    For each range the values outside are counted in its outermost bins (P); the bins inside are
    merged into as many levels as the grid has, and each level is spread evenly over those of its
    bins that are not empty (Q). The range with the smallest KL(P || Q) is taken. With symmetric
    grids that is done with absolute values; otherwise with one end after the other. Exact zeros
    are left out: they are exact in every range, and a peak of them would outweigh all else.

    Source: Migacz 2017, "8-bit inference with TensorRT" (GTC slides), entropy calibration.

    Returns:
        (low, high), float64 [channels]; 0 for channels without a value. That of `min_max` where
        the grid has as many levels as the histogram has bins (16 bits).
    """
    minimum, maximum = min_max.find(statistics, grid)
    lows, highs = minimum.copy(), maximum.copy()
    counts = statistics.counts.astype(np.float64)
    half = counts.shape[1] // 2
    counts[:, half] -= np.minimum(statistics.zeros, counts[:, half])
    for channel in np.flatnonzero(minimum < maximum):
        width = statistics.limit[channel] / half
        if grid.symmetric:
            one_sided = counts[channel, half:] + counts[channel, :half][::-1]
            _, last = _clipped(one_sided, 0, (grid.steps + 2) // 2)
            first, last = -last, last
        else:
            first, last = _clipped(counts[channel], half, grid.steps + 1)
        lows[channel], highs[channel] = first * width, last * width
    return np.clip(lows, minimum, maximum), np.clip(highs, minimum, maximum)


def _clipped(counts: Doubles, zero: int, levels: int) -> tuple[int, int]:
    """The bins [first, last) to keep, of which `zero` is the first that is not negative.

    Returns:
        Places relative to `zero`.
    """
    seen = np.flatnonzero(counts)
    widest_first, widest_last = min(int(seen[0]), zero), max(int(seen[-1]) + 1, zero)
    first, last = widest_first, widest_last
    for _ in range(_ROUNDS):
        lasts = _up_to(widest_last, max(zero, first + levels))
        last = int(lasts[np.argmin(divergences(counts, first, lasts, levels))])
        firsts = -_up_to(-widest_first, -min(zero, last - levels))
        first = int(firsts[np.argmin(divergences(counts, firsts, last, levels))])
    return first - zero, last - zero


def _up_to(widest: int, narrowest: int) -> Places:
    """Some places from the narrowest to the widest; only the widest where that is narrower."""
    places = np.linspace(min(narrowest, widest), widest, _TRIED)
    return np.unique(places.round().astype(np.int64))


def divergences(counts: Doubles, first: int | Places, last: int | Places, levels: int) -> Doubles:
    """KL(P || Q) of each range of bins [first, last); infinite where Q lacks what P has."""
    firsts, lasts = np.broadcast_arrays(np.atleast_1d(first), np.atleast_1d(last))
    total = counts.sum()
    below = np.concatenate(([0.0], np.cumsum(counts)))
    filled_below = np.concatenate(([0], np.cumsum(counts > 0)))
    entropy_below = np.concatenate(([0.0], np.cumsum(_x_log_x(counts))))

    shares = np.arange(levels + 1) * (lasts - firsts)[:, None] // levels
    ends = firsts[:, None] + shares
    inside = np.diff(below[ends], axis=1)
    filled = np.diff(filled_below[ends], axis=1)
    clipped_low, clipped_high = below[firsts], total - below[lasts]
    outermost = counts[firsts], counts[lasts - 1]
    reference = inside.copy()
    reference[:, 0] += clipped_low
    reference[:, -1] += clipped_high
    filled[:, 0] += (outermost[0] == 0) & (clipped_low > 0)
    filled[:, -1] += (outermost[1] == 0) & (clipped_high > 0)

    own = entropy_below[lasts] - entropy_below[firsts]
    for bins, clipped in zip(outermost, (clipped_low, clipped_high), strict=True):
        own += _x_log_x(bins + clipped) - _x_log_x(bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.log(inside / filled)
        cross = np.where(reference > 0, reference * spread, 0.0).sum(axis=1)
        found = (own - cross) / total + np.log(inside.sum(axis=1) / total)
    return np.where(np.isfinite(cross), found, np.inf)


def _x_log_x(values: Doubles) -> Doubles:
    logarithms = np.log(values, out=np.zeros_like(values), where=values > 0)
    return values * logarithms
