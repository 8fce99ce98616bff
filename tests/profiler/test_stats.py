"""Percentiles, intervals and comparisons, against plain NumPy and against what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_models import COLD_START, fake_run

from edgewright.profiler.result import Run
from edgewright.profiler.stats import (
    compare_runs,
    quantile_interval,
    ratio_to,
    round_medians,
    summarize,
)

# The first call imports SciPy, which takes its time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

milliseconds = st.floats(min_value=1e-3, max_value=1e5)
samples = st.lists(milliseconds, min_size=1, max_size=300)
blocks = st.lists(st.lists(milliseconds, min_size=1, max_size=8), min_size=5, max_size=12)


@given(samples)
def test_summary_is_that_of_numpy(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.p50 == pytest.approx(np.median(values))
    assert summary.p90 == pytest.approx(np.quantile(values, 0.9))
    assert summary.p99 == pytest.approx(np.quantile(values, 0.99))
    assert summary.mean == pytest.approx(np.mean(values))


@given(samples, st.sampled_from([0.5, 0.9]))
def test_an_interval_holds_its_quantile_and_only_samples(
    values: list[float], quantile: float
) -> None:
    interval = quantile_interval(values, quantile)
    if interval is None:
        assert len(values) < (6 if quantile == 0.5 else 36)
    else:
        low, high = interval
        assert low in values and high in values
        assert low <= np.quantile(values, quantile) <= high


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # The mean depends on the order of summation, in its last digit.
    assert summarize(shuffled).p90_interval == summarize(values).p90_interval
    assert summarize(shuffled).p50 == summarize(values).p50


def test_intervals_cover_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    truth = float(np.quantile(np.exp(generator.normal(size=10**6)), 0.9))
    hits = 0
    for _ in range(1000):
        interval = quantile_interval(np.exp(generator.normal(size=128)), 0.9)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 940 <= hits <= 990


def test_smallest_numbers_of_samples() -> None:
    assert summarize([2.0]).p50_interval is None
    assert quantile_interval([1.0] * 5, 0.5) is None
    assert quantile_interval([1.0] * 6, 0.5) == (1.0, 1.0)
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


@given(blocks, st.floats(min_value=0.1, max_value=10))
@settings(max_examples=30)
def test_a_run_scaled_by_a_factor_has_that_ratio(values: list[list[float]], factor: float) -> None:
    scaled = [[factor * value for value in block] for block in values]
    comparison = ratio_to(fake_run(values), fake_run(scaled))
    assert comparison.ratio == pytest.approx(factor)
    assert comparison.interval == pytest.approx((factor, factor))
    assert comparison.pairs == len(values)
    assert comparison.speedup == pytest.approx(1 / factor)


@given(blocks)
@settings(max_examples=30)
def test_a_run_is_neither_faster_nor_slower_than_itself(values: list[list[float]]) -> None:
    for other in ("one", "two"):
        comparison = compare_runs(fake_run(values), fake_run(values, other))
        assert comparison.ratio == pytest.approx(1)
        assert not comparison.is_faster and not comparison.is_slower


def noisy(generator: np.random.Generator, mood: np.ndarray, scale: float) -> list[list[float]]:
    return [list(scale * m * generator.lognormal(0, 0.02, 10)) for m in mood]


def test_pairing_sees_through_what_happens_to_both() -> None:
    generator = np.random.default_rng(5)
    mood = generator.uniform(1, 2, 20)  # the device is up to twice as slow at times
    slow = fake_run(noisy(generator, mood, 10))
    fast = fake_run(noisy(generator, mood, 9))
    paired = ratio_to(slow, fast)
    assert paired.is_faster
    assert paired.interval is not None
    assert paired.interval[0] < 0.9 < paired.interval[1]
    apart = compare_runs(slow, fast.model_copy(update={"measurement": "two"}))
    assert apart.method == "unpaired"
    assert not apart.is_faster, "unpaired, the same samples prove nothing"


def test_runs_of_different_measurements_are_not_paired() -> None:
    with pytest.raises(ValueError, match="different measurements"):
        ratio_to(fake_run([[1.0]]), fake_run([[1.0]], "two"))


def test_too_few_rounds_prove_nothing() -> None:
    comparison = ratio_to(fake_run([[2.0]] * 4), fake_run([[1.0]] * 4))
    assert comparison.ratio == 0.5
    assert comparison.interval is None
    assert not comparison.is_faster


def test_rounds_are_cut_where_they_were() -> None:
    assert round_medians(fake_run([[1, 2, 9], [4]])) == [2, 4]


def test_a_run_survives_being_written_and_read() -> None:
    run = fake_run([[1.0, 2.0], [3.0]])
    document = run.to_json()
    assert document["latency_ms"]["p50"] == 2.0
    assert Run.from_json(document) == run


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ms": [], "rounds": []},
        {"samples_ms": [1.0, 0.0, 3.0]},
        {"samples_ms": [1.0, -2.0, 3.0]},
        {"samples_ms": [1.0, float("nan"), 3.0]},
        {"samples_ms": [1.0, float("inf"), 3.0]},
        {"samples_ms": [1.0, None, 3.0]},
        {"samples_ms": [1.0, 2.0]},
        {"rounds": [2]},
        {"rounds": [3, 0]},
        {"rounds": [4, -1]},
        {"warm_up_ms": [float("nan")]},
        {"cold_starts": []},
        {"cold_starts": [{**COLD_START.model_dump(), "import_ms": float("nan")}]},
        {"cold_starts": [{**COLD_START.model_dump(), "load_ms": float("inf")}]},
        {"cold_starts": [{**COLD_START.model_dump(), "first_inference_ms": 0.0}]},
    ],
)
def test_samples_that_are_none_are_no_run(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Run.from_json({**fake_run([[1.0, 2.0], [3.0]]).to_json(), **change})
