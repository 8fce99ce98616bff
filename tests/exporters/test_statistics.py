"""What is kept of activations, against plain NumPy over all the values at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from distributions import ADVERSARIAL, RANDOM, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from edgewright.exporters.quantize import tensor_statistics
from edgewright.exporters.quantize.tensor_statistics import (
    BINS,
    COUNTED,
    ChannelStatistics,
    TensorStatistics,
)

EVERY = {**ADVERSARIAL, **RANDOM}
everything = pytest.mark.parametrize("samples", EVERY.values(), ids=EVERY.keys())


def seen(samples: Sequence[np.ndarray], channels: int = 1) -> TensorStatistics:
    found = TensorStatistics.empty(channels)
    for sample in samples:
        found.add(sample)
    return found


def check_histogram(found: TensorStatistics, values: np.ndarray) -> None:
    """Every value lies in its bin."""
    edges = found.edges(0)
    expected = np.zeros(BINS, np.int64)
    if found.limit[0]:
        places = np.floor((values.astype(np.float64) + found.limit[0]) / (edges[1] - edges[0]))
        np.add.at(expected, np.minimum(places.astype(np.int64), BINS - 1), 1)
    else:
        expected[BINS // 2] = values.size
    assert found.counts.sum() == values.size
    moved = np.abs(np.cumsum(found.counts[0]) - np.cumsum(expected)).max()
    assert moved <= on_an_edge(values, found)


def on_an_edge(values: np.ndarray, found: TensorStatistics) -> int:
    """How many values may be found in the bin beside their own.

    Negative ones that are zero beside the limit, and those that were a limit before it grew, which
    the last bin holds.
    """
    vanishing = (values < 0) & (values > -found.limit[0] * 2.0**-40)
    limits = (values > 0) & (np.frexp(values)[0] == 0.5)
    return int(np.count_nonzero(vanishing | limits))


def check(samples: Sequence[np.ndarray]) -> None:
    """What has to hold whatever the values are."""
    values = np.concatenate([sample.ravel() for sample in samples])
    largest = float(np.abs(values).max())
    found = seen(samples)
    assert found.count[0] == values.size
    assert (found.minimum[0], found.maximum[0]) == (values.min(), values.max())
    assert found.limit[0] == 0 or math.frexp(found.limit[0])[0] == 0.5, "a power of two"
    assert largest <= found.limit[0] <= 2 * largest
    assert found.zeros[0] == np.count_nonzero(values == 0)
    check_histogram(found, values)
    reals = values.astype(np.float64)
    size = max(largest, 1e-300)
    assert found.mean[0] == pytest.approx(reals.mean(), rel=1e-5, abs=1e-5 * size)
    assert found.variance[0] == pytest.approx(reals.var(), rel=1e-4, abs=1e-8 * size**2)


@everything
def test_any_distribution(samples: list[np.ndarray]) -> None:
    check(samples)


@given(SAMPLES)
@settings(max_examples=150, deadline=None)
def test_any_values(samples: list[np.ndarray]) -> None:
    check(samples)


@pytest.mark.parametrize("samples", RANDOM.values(), ids=RANDOM.keys())
def test_kurtosis(samples: list[np.ndarray]) -> None:
    values = np.concatenate(samples).astype(np.float64)
    assert seen(samples).kurtosis[0] == pytest.approx(
        stats.kurtosis(values, fisher=False), rel=1e-3
    )


def test_moments_of_a_narrow_distribution_far_from_zero() -> None:
    values = np.random.default_rng(1).normal(1000, 0.01, 20_000).astype(np.float32)
    found = seen([values])
    assert found.mean[0] == pytest.approx(values.mean(dtype=np.float64), rel=1e-9)
    assert found.variance[0] == pytest.approx(values.var(dtype=np.float64), rel=1e-4)


def test_without_variance_there_is_no_kurtosis() -> None:
    assert np.isnan(seen([np.full(9, 2.5, np.float32)]).kurtosis[0])


@given(SAMPLES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_samples_does_not_matter_but_to_the_moving_average(
    samples: list[np.ndarray], random: object
) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = seen(samples), seen(shuffled)
    values = np.concatenate(samples)
    assert (one.minimum, one.maximum, one.limit) == (other.minimum, other.maximum, other.limit)
    moved = np.abs(np.cumsum(one.counts) - np.cumsum(other.counts)).max()
    assert moved <= on_an_edge(values, one)


def test_memory_does_not_grow() -> None:
    found = seen([np.float32([10.0**k]) for k in range(-30, 30)])
    assert found.counts.size == BINS and found.counts.sum() == 60


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_real_types(dtype: type) -> None:
    found = seen([np.array([[[1.5], [-2.0]]], dtype)])
    assert (found.minimum[0], found.maximum[0]) == (-2.0, 1.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_nothing(bad: float) -> None:
    values = np.ones(10, np.float32)
    values[7] = bad
    found, channels = TensorStatistics.empty(), ChannelStatistics.empty(0, 10)
    for statistics in (found, channels):
        with pytest.raises(FloatingPointError, match="NaN or Inf"):
            statistics.add(values)
    assert found.count[0] == 0 and not found.counts.any() and not found.powers.any()
    assert channels.count == 0 and not channels.total.any()


def test_moving_average() -> None:
    generator = np.random.default_rng(2)
    samples = [generator.normal(size=50).astype(np.float32) for _ in range(20)]
    low, high = float(samples[0].min()), float(samples[0].max())
    for sample in samples[1:]:
        low = 0.99 * low + 0.01 * float(sample.min())
        high = 0.99 * high + 0.01 * float(sample.max())
    found = seen(samples)
    assert found.average_minimum[0] == pytest.approx(low, rel=1e-12)
    assert found.average_maximum[0] == pytest.approx(high, rel=1e-12)


class TestPerChannel:
    @given(
        hnp.arrays(
            np.float32,
            st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 20)),
            # Smaller ones may vanish beside the channel's largest, and count as 0 then.
            elements=st.floats(-(2.0**60), 2.0**60, width=32).filter(
                lambda value: value == 0 or abs(value) > 2.0**-60
            ),
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_each_channel_is_as_if_it_were_alone(self, samples: np.ndarray) -> None:
        together = seen(list(samples), samples.shape[1])
        for channel in range(samples.shape[1]):
            alone = seen(list(samples[:, channel]))
            for name in ("count", "minimum", "maximum", "limit", "zeros", "counts"):
                found = getattr(together, name)[channel]
                assert np.array_equal(found, getattr(alone, name)[0]), name
            size = float(np.abs(samples[:, channel]).max())
            assert together.mean[channel] == pytest.approx(alone.mean[0], abs=1e-6 * size)

    def test_channels_of_sizes_that_differ_much(self) -> None:
        small, large = np.float32([1e-44, -1e-45, 0]), np.float32([3e38, -1, 2])
        found = seen([np.stack([small, large])], 2)
        assert found.limit[0] < 1e-43 and found.limit[1] > 1e38
        assert (found.counts.sum(axis=1) == 3).all()


class TestLargeTensors:
    def test_extremes_and_moments_are_of_all_values(self) -> None:
        values = np.random.default_rng(3).normal(size=COUNTED * 5 + 3).astype(np.float32)
        values[1], values[2] = 77.0, -55.0
        found = seen([values])
        assert found.count[0] == values.size
        assert (found.minimum[0], found.maximum[0]) == (-55.0, 77.0)
        assert found.mean[0] == pytest.approx(values.mean(dtype=np.float64), abs=1e-6)
        assert found.variance[0] == pytest.approx(values.var(dtype=np.float64), rel=1e-6)
        assert found.kurtosis[0] == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-3)

    def test_the_histogram_is_a_fair_sample_with_both_extremes(self) -> None:
        values = np.random.default_rng(4).normal(size=COUNTED * 10).astype(np.float32)
        values[1], values[2] = 77.0, -55.0
        found = seen([values])
        assert found.counts.sum() == pytest.approx(values.size, rel=1e-3)
        edges = found.edges(0)
        for place, value in ((77.0, 1), (-55.0, 1)):
            assert found.counts[0, np.searchsorted(edges, place, "right") - 1] == value
        shares = np.cumsum(found.counts[0]) / found.counts.sum()
        for share in (0.01, 0.5, 0.99):
            exact = np.quantile(values, share)
            assert edges[np.searchsorted(shares, share) + 1] == pytest.approx(exact, abs=0.1)

    @pytest.mark.parametrize("shape", [(96, 112, 112), (112, 112, 96), (64, 64, 64), (7, 7, 1280)])
    def test_the_stride_visits_all_places_of_every_axis_alike(self, shape: tuple[int, ...]) -> None:
        for axis, size in enumerate(shape):
            along = np.arange(size, dtype=np.float32).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            found = seen([np.broadcast_to(along, shape)])
            edges = found.edges(0)
            bins = np.searchsorted(edges, np.arange(size), "right") - 1
            counted = found.counts[0, np.minimum(bins, BINS - 1)]
            assert counted == pytest.approx(math.prod(shape) / size, rel=0.05), f"axis {axis}"

    def test_each_sample_is_looked_at_from_another_place(self) -> None:
        values = np.zeros(COUNTED * 3, np.float32)
        values[1::3] = 1.0
        values[2::3] = 2.0
        assert tensor_statistics._stride(values.size) > 3
        found = seen([values] * 12)
        ones = found.counts[0, np.searchsorted(found.edges(0), 1.0, "right") - 1]
        assert ones == pytest.approx(values.size * 12 / 3, rel=0.01)


class TestChannels:
    @pytest.mark.parametrize(
        ("shape", "axis"),
        [((1, 8, 5, 6), 1), ((2, 8, 5, 6), 1), ((1, 20, 30, 8), 3), ((3, 8), 1), ((8,), 0)],
    )
    def test_against_numpy(self, shape: tuple[int, ...], axis: int) -> None:
        generator = np.random.default_rng(6)
        samples = [generator.normal(1.0, 2.0, shape).astype(np.float32) for _ in range(4)]
        found = ChannelStatistics.empty(axis, 8, covariance=True)
        for sample in samples:
            found.add(sample)
        rows = np.concatenate([np.moveaxis(s, axis, 0).reshape(8, -1) for s in samples], axis=1)
        assert found.count == rows.shape[1]
        assert np.array_equal(found.minimum, rows.min(axis=1))
        assert np.array_equal(found.maximum, rows.max(axis=1))
        np.testing.assert_allclose(found.mean, rows.mean(axis=1, dtype=np.float64), atol=1e-6)
        assert found.covariance is not None and found.covariance.dtype == np.float32
        expected = rows.astype(np.float64) @ rows.T
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-5, atol=1e-3)

    def test_means_of_many_rows_keep_their_digits(self) -> None:
        values = np.random.default_rng(7).random((1, 300, 300, 4)).astype(np.float32)
        found = ChannelStatistics.empty(3, 4)
        found.add(values)
        exact = values.mean(axis=(0, 1, 2), dtype=np.float64)
        np.testing.assert_allclose(found.mean, exact, rtol=1e-6)

    def test_sums_that_float32_could_not_hold(self) -> None:
        found = ChannelStatistics.empty(1, 2)
        found.add(np.full((50, 2), -3e38, np.float32))
        np.testing.assert_allclose(found.mean, -3e38, rtol=1e-6)

    def test_too_many_channels_have_no_covariance(self) -> None:
        assert ChannelStatistics.empty(0, 4097, covariance=True).covariance is None
        assert ChannelStatistics.empty(0, 4).covariance is None
