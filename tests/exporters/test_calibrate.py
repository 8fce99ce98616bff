"""Ranges of activations, against plain NumPy over all the values at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewright.errors import UsageError
from edgewright.exporters.quantize.calibrate import Histogram, collect
from edgewright.exporters.quantize.recipe import Calibration

MIN_MAX = Calibration(method="min-max")
ALL = Calibration(percentile=100)
BINS = 4096

ANY_FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)
CHUNKS = st.lists(
    hnp.arrays(np.float32, st.integers(1, 30), elements=ANY_FLOAT), min_size=1, max_size=6
)
GENERATOR = np.random.default_rng(5)
ADVERSARIAL = {
    "constant": [np.full(100, 3.7, np.float32)],
    "constant negative": [np.full(100, -1e-3, np.float32)],
    "one value": [np.float32([0.3])],
    "zeros": [np.zeros(50, np.float32)],
    "zeros, then more": [np.zeros(50, np.float32), np.float32([2.0, -1.0])],
    "one outlier": [np.append(GENERATOR.normal(size=5000), 1e6).astype(np.float32)],
    "all negative": [-GENERATOR.random(500).astype(np.float32) - 5],
    "subnormal": [np.float32([1e-45, 3e-45, -1e-45])],
    "subnormal, then huge": [np.float32([1e-45]), np.float32([3.4e38])],
    "powers of two": [np.float32([2.0**k for k in range(-20, 20)])],
    "the limits themselves": [np.float32([-1, 1]), np.float32([-2, 2]), np.float32([-4, 4])],
    "growing": [GENERATOR.normal(size=300).astype(np.float32) * 3.0**k for k in range(12)],
}


def histogram(chunks: Sequence[np.ndarray]) -> Histogram:
    found = Histogram()
    for chunk in chunks:
        found.add(chunk)
    return found


def check(chunks: Sequence[np.ndarray]) -> None:
    """What has to hold whatever the values are."""
    everything = np.concatenate([chunk.ravel() for chunk in chunks])
    found = histogram(chunks)
    low, high = float(everything.min()), float(everything.max())
    assert found.counts.sum() == everything.size
    assert (found.counts >= 0).all()
    assert -found.limit <= low and high <= found.limit
    assert found.range(MIN_MAX) == (low, high)
    assert found.range(ALL) == (low, high)
    for percentile in (99.99, 90.0):
        cut_low, cut_high = found.range(Calibration(percentile=percentile))
        assert low <= cut_low <= cut_high <= high
        inside = (everything >= cut_low) & (everything <= cut_high)
        assert inside.mean() * 100 >= percentile - 1e-9
        # No wider than the exact quantiles by more than two bins.
        tail = (1 - percentile / 100) / 2
        exact_low = np.quantile(everything.astype(np.float64), tail, method="inverted_cdf")
        exact_high = np.quantile(everything.astype(np.float64), 1 - tail, method="inverted_cdf")
        bin_width = 2 * found.limit / BINS
        assert cut_low >= exact_low - 2 * bin_width
        assert cut_high <= exact_high + 2 * bin_width


@pytest.mark.parametrize("chunks", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_adversarial_values(chunks: list[np.ndarray]) -> None:
    check(chunks)


@given(CHUNKS)
@settings(max_examples=150, deadline=None)
def test_any_values(chunks: list[np.ndarray]) -> None:
    check(chunks)


@given(CHUNKS, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_chunks_moves_a_percentile_by_a_bin_at_most(
    chunks: list[np.ndarray], random: object
) -> None:
    shuffled = list(chunks)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = histogram(chunks), histogram(shuffled)
    assert one.range(MIN_MAX) == other.range(MIN_MAX)
    assert one.counts.sum() == other.counts.sum()
    wanted = Calibration(percentile=90)
    width = 2 * max(one.limit, other.limit) / BINS
    assert np.allclose(one.range(wanted), other.range(wanted), rtol=0, atol=2 * width)


def test_an_outlier_is_cut_by_percentile_and_kept_by_min_max() -> None:
    values = np.append(np.linspace(-1, 1, 100_000), 40.0).astype(np.float32)
    found = histogram([values])
    assert found.range(MIN_MAX) == (-1.0, 40.0)
    low, high = found.range(Calibration(percentile=99.99))
    assert low == pytest.approx(-1, abs=0.05) and high == pytest.approx(1, abs=0.05)


def test_memory_does_not_grow() -> None:
    found = histogram([np.float32([10.0**k]) for k in range(-30, 30)])
    assert found.counts.size == BINS and found.counts.sum() == 60


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_real_types(dtype: type) -> None:
    found = histogram([np.array([[[1.5], [-2.0]]], dtype)])
    assert found.range(MIN_MAX) == (-2.0, 1.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_names_tensor_and_sample(bad: float) -> None:
    samples = [{"x": np.float32([1.0])}, {"x": np.float32([bad])}]

    def tap(sample: object) -> dict[str, np.ndarray]:
        assert isinstance(sample, dict)
        return {"fine": np.ones(1, np.float32), "inner": sample["x"] * 2}

    with pytest.raises(UsageError, match="calibration sample 1 gives NaN or Inf in tensor inner"):
        collect(tap, samples)


def test_statistics_hold_every_tensor_and_tell_how_far_they_are() -> None:
    seen: list[int] = []
    samples = [{"x": np.float32([value])} for value in (1.0, -3.0, 2.0)]
    statistics = collect(
        lambda sample: {"a": np.asarray(sample["x"]), "none": np.zeros(0, np.float32)},
        samples,
        seen.append,
    )
    assert statistics.samples == 3 and seen == [1, 2, 3]
    assert statistics.ranges(MIN_MAX) == {"a": (-3.0, 2.0)}


def test_no_samples_are_an_error() -> None:
    with pytest.raises(UsageError, match="no calibration samples"):
        collect(lambda sample: {}, [])
