"""Range methods, each against a plain NumPy reference on the raw values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from distributions import ADVERSARIAL, RANDOM, SAMPLES
from hypothesis import given, settings
from scipy import stats

from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.methods import find_range
from edgewright.exporters.quantize.methods.entropy import divergences
from edgewright.exporters.quantize.recipe import RangeMethod
from edgewright.exporters.quantize.tensor_statistics import COUNTED, TensorStatistics

GRIDS = {
    "uint8": Grid(8, False, False),
    "int8 symmetric": Grid(8, True, True),
    "uint8 symmetric": Grid(8, False, True),
    "uint16": Grid(16, False, False),
    "int16 symmetric": Grid(16, True, True),
    "int4": Grid(4, True, False),
}
MIN_MAX = RangeMethod(method="min-max")
MSE = RangeMethod(method="mse")
ENTROPY = RangeMethod(method="entropy")
METHODS = [
    MIN_MAX,
    RangeMethod(method="moving-average"),
    RangeMethod(percentile=99.9),
    RangeMethod(percentile=100),
    MSE,
    ENTROPY,
]
EVERY = {**ADVERSARIAL, **RANDOM}

every_distribution = pytest.mark.parametrize("samples", EVERY.values(), ids=EVERY.keys())
real_distribution = pytest.mark.parametrize("samples", RANDOM.values(), ids=RANDOM.keys())
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
eight_bits = pytest.mark.parametrize(
    "grid", [Grid(8, False, False), Grid(8, True, True)], ids=["asymmetric", "symmetric"]
)


def seen(samples: Sequence[np.ndarray], channels: int = 1) -> TensorStatistics:
    found = TensorStatistics.empty(channels)
    for sample in samples:
        found.add(sample)
    return found


def found_range(
    samples: Sequence[np.ndarray], grid: Grid, method: RangeMethod
) -> tuple[float, float]:
    low, high = find_range(seen(samples), grid, method)
    return float(low[0]), float(high[0])


def squared_error(values: np.ndarray, grid: Grid, low: float, high: float) -> float:
    """The mean squared error that quantization really makes."""
    scale, zero_point = grid.parameters(low, high)
    # In float64: the largest float32 there are would overflow by rounding.
    steps = grid.quantize(values, scale, zero_point) - zero_point
    return float(np.mean((values.astype(np.float64) - steps * scale.astype(np.float64)) ** 2))


def check(samples: Sequence[np.ndarray], grid: Grid) -> None:
    """What has to hold for every method, whatever the values are."""
    values = np.concatenate(samples)
    for method in METHODS:
        low, high = found_range(samples, grid, method)
        assert np.isfinite([low, high]).all(), method.name
        assert values.min() <= low <= high <= values.max(), method.name
        scale, _ = grid.parameters(low, high)
        assert np.isfinite(scale) and scale > 0


@every_grid
@every_distribution
def test_finite_and_never_wider_than_seen(samples: list[np.ndarray], grid: Grid) -> None:
    check(samples, grid)


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_finite_and_never_wider_than_seen_whatever_the_values(samples: list[np.ndarray]) -> None:
    for grid in (Grid(8, False, False), Grid(8, True, True), Grid(16, True, True)):
        check(samples, grid)


@every_grid
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_channel_that_never_got_a_value(method: RangeMethod, grid: Grid) -> None:
    low, high = find_range(TensorStatistics.empty(3), grid, method)
    assert low.tolist() == high.tolist() == [0, 0, 0]


@eight_bits
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_channels_do_not_know_of_each_other(method: RangeMethod, grid: Grid) -> None:
    rows = [sample[-1][:100] for sample in EVERY.values() if sample[-1].size >= 100]
    together = seen([np.stack(rows)], len(rows))
    lows, highs = find_range(together, grid, method)
    for channel, row in enumerate(rows):
        assert (lows[channel], highs[channel]) == found_range([row], grid, method)


@every_distribution
def test_min_max(samples: list[np.ndarray]) -> None:
    values = np.concatenate(samples)
    for grid in GRIDS.values():
        assert found_range(samples, grid, MIN_MAX) == (values.min(), values.max())


@every_distribution
def test_moving_average(samples: list[np.ndarray]) -> None:
    low, high = None, None
    for sample in samples:
        if sample.size:
            least, most = float(sample.min()), float(sample.max())
            low = least if low is None else 0.99 * low + 0.01 * least
            high = most if high is None else 0.99 * high + 0.01 * most
    found = found_range(samples, Grid(8, True, True), RangeMethod(method="moving-average"))
    assert found == pytest.approx((low, high), rel=1e-12)


class TestPercentile:
    def check(self, samples: Sequence[np.ndarray], percentile: float) -> None:
        values = np.concatenate(samples)
        found = seen(samples)
        low, high = found_range(samples, Grid(8, True, False), RangeMethod(percentile=percentile))
        width = 2 * found.limit[0] / found.counts.shape[1]
        # What lies on an edge may be counted in the bin beside its own.
        inside = (values >= low - width) & (values <= high + width)
        assert inside.mean() * 100 >= percentile - 1e-9
        tail = (1 - percentile / 100) / 2
        exact = np.quantile(values.astype(np.float64), [tail, 1 - tail], method="inverted_cdf")
        assert low >= exact[0] - 2 * width and high <= exact[1] + 2 * width

    @every_distribution
    @pytest.mark.parametrize("percentile", [99.99, 99.0, 80.0])
    def test_keeps_that_many_and_hardly_more(
        self, samples: list[np.ndarray], percentile: float
    ) -> None:
        self.check(samples, percentile)

    @given(SAMPLES)
    @settings(max_examples=100, deadline=None)
    def test_whatever_the_values(self, samples: list[np.ndarray]) -> None:
        self.check(samples, 90.0)

    @every_distribution
    def test_all_of_them_are_the_extremes(self, samples: list[np.ndarray]) -> None:
        for grid in GRIDS.values():
            found = found_range(samples, grid, RangeMethod(percentile=100))
            assert found == found_range(samples, grid, MIN_MAX)

    def test_an_outlier_is_cut(self) -> None:
        values = np.append(np.linspace(-1, 1, 50_000), 40.0).astype(np.float32)
        low, high = found_range([values], Grid(8, True, False), RangeMethod(percentile=99.99))
        assert low == pytest.approx(-1, abs=0.05) and high == pytest.approx(1, abs=0.05)


class TestMse:
    @real_distribution
    @pytest.mark.parametrize("bits", [3, 4, 8])
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_hardly_any_range_is_better(
        self, samples: list[np.ndarray], bits: int, symmetric: bool
    ) -> None:
        grid = Grid(bits, True, symmetric)
        values = np.concatenate(samples)
        low, high = float(values.min()), float(values.max())
        shares = np.linspace(0.1, 1, 24)
        if symmetric:
            reach = max(-low, high)
            tried = [(max(low, -reach * s), min(high, reach * s)) for s in shares]
        else:
            lows = low * shares if low < 0 else [low]
            tried = [(one, high * other) for one in lows for other in shares]
        best = min(squared_error(values, grid, *each) for each in tried)
        found = squared_error(values, grid, *found_range(samples, grid, MSE))
        assert found <= 1.05 * best

    @every_grid
    @real_distribution
    def test_no_worse_than_the_extremes(self, samples: list[np.ndarray], grid: Grid) -> None:
        values = np.concatenate(samples)
        found = squared_error(values, grid, *found_range(samples, grid, MSE))
        assert found <= 1.02 * squared_error(values, grid, values.min(), values.max())

    @every_grid
    @every_distribution
    def test_within_what_rounding_could_do_to_the_extremes(
        self, samples: list[np.ndarray], grid: Grid
    ) -> None:
        values = np.concatenate(samples)
        scale, _ = grid.parameters(values.min(), values.max())
        # Beside the largest float32 there are, the grid itself has to clip.
        least = squared_error(values, grid, values.min(), values.max())
        found = squared_error(values, grid, *found_range(samples, grid, MSE))
        assert found <= max((float(scale) / 2) ** 2, least) * 1.02

    def test_outliers_that_are_rare_are_clipped_and_others_are_not(self) -> None:
        grid = Grid(4, True, False)
        normal = np.random.default_rng(1).normal(size=60_000).astype(np.float32)
        rare = [np.append(normal, np.float32(30))]
        common = [np.append(normal, np.full(6000, 30, np.float32))]
        assert found_range(rare, grid, MSE)[1] < 15
        assert found_range(common, grid, MSE)[1] > 29.5

    def test_an_outlier_that_the_histogram_passes_over_is_not_forgotten(self) -> None:
        values = np.random.default_rng(2).normal(size=COUNTED * 9).astype(np.float32)
        values[3] = 500.0
        grid = Grid(16, True, True)
        low, high = found_range([values], grid, MSE)
        least = squared_error(values, grid, values.min(), values.max())
        assert squared_error(values, grid, low, high) <= 1.02 * least


class TestEntropy:
    @real_distribution
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_at_16_bits_it_is_min_max(self, samples: list[np.ndarray], symmetric: bool) -> None:
        grid = Grid(16, True, symmetric)
        assert found_range(samples, grid, ENTROPY) == found_range(samples, grid, MIN_MAX)

    @given(SAMPLES)
    @settings(max_examples=30, deadline=None)
    def test_divergences_are_those_of_the_plain_algorithm(self, samples: list[np.ndarray]) -> None:
        counts = seen(samples).counts[0].astype(np.float64)
        # Few bins, so that some levels are empty, and some are not.
        counts = counts.reshape(64, -1).sum(axis=1)
        firsts = np.array([0, 0, 3, 10, 30], np.int64)
        lasts = np.array([64, 40, 64, 50, 46], np.int64)
        found = divergences(counts, firsts, lasts, 7)
        for first, last, divergence in zip(firsts, lasts, found, strict=True):
            expected = plain_divergence(counts, int(first), int(last), 7)
            assert divergence == pytest.approx(expected, rel=1e-9, abs=1e-9)

    @eight_bits
    @real_distribution
    def test_less_divergence_than_the_extremes(self, samples: list[np.ndarray], grid: Grid) -> None:
        found = seen(samples)
        low, high = found_range(samples, grid, ENTROPY)
        assert self.divergence(found, grid, low, high) <= self.divergence(
            found, grid, found.minimum[0], found.maximum[0]
        )

    @staticmethod
    def divergence(found: TensorStatistics, grid: Grid, low: float, high: float) -> float:
        half = found.counts.shape[1] // 2
        counts = found.counts[0].astype(np.float64)
        counts[half] -= found.zeros[0]
        places = np.array([low, high]) * half / found.limit[0]
        if grid.symmetric:
            folded = counts[half:] + counts[:half][::-1]
            return plain_divergence(folded, 0, int(np.ceil(np.abs(places).max())), 128)
        first, last = int(np.floor(min(places[0], 0))), int(np.ceil(places[1]))
        return plain_divergence(counts, half + first, half + last, 256)

    def test_an_outlier_is_cut(self) -> None:
        generator = np.random.default_rng(3)
        values = np.append(generator.normal(size=100_000), 12.0).astype(np.float32)
        for grid in (Grid(8, True, False), Grid(8, True, True)):
            low, high = found_range([values], grid, ENTROPY)
            assert 2 < high < 8 and -8 < low < -2


def plain_divergence(counts: np.ndarray, first: int, last: int, levels: int) -> float:
    """KL(P || Q) with one loop over the levels, as Migacz's slides describe it."""
    reference = counts[first:last].copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    candidate = np.zeros_like(reference)
    size = reference.size
    for level in range(levels):
        start, end = level * size // levels, (level + 1) * size // levels
        filled = reference[start:end] > 0
        if filled.any():
            candidate[start:end][filled] = counts[first + start : first + end].sum() / filled.sum()
    if candidate.sum() == 0:
        return np.inf
    return float(stats.entropy(reference, candidate))
