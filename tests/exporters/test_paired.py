"""Confidence intervals of paired drops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.exporters.paired import (
    MIN_BOOTSTRAP_SAMPLES,
    binary_interval,
    mean_interval,
    samples_to_resolve,
)

Z2 = 1.959963984540054**2

TABLES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n)).flatmap(
        lambda lost_n: st.tuples(
            st.just(lost_n[0]), st.integers(0, lost_n[1] - lost_n[0]), st.just(lost_n[1])
        )
    )
)


def interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """Of a table: the float model alone right, the candidate alone right, all samples."""
    same = count - lost - won
    floats = [1.0] * lost + [0.0] * won + [1.0] * same
    scores = [0.0] * lost + [1.0] * won + [1.0] * same
    return binary_interval(floats, scores)


@pytest.mark.parametrize(
    ("lost", "won", "count", "low", "high"),
    [
        # Fagerland, Lydersen, Laake 2014, "Recommended tests and confidence intervals for paired
        # binomial proportions", Statistics in Medicine 33:2850-2875: airway hyper-responsiveness.
        (1, 7, 21, -0.517, -0.026),
        # The same: complete response before and after consolidation therapy.
        (6, 16, 161, -0.124, -0.005),
    ],
)
def test_published_intervals(lost: int, won: int, count: int, low: float, high: float) -> None:
    assert interval(lost, won, count) == (
        pytest.approx(low, abs=6e-4),
        pytest.approx(high, abs=6e-4),
    )


def score_statistic(lost: int, won: int, count: int, difference: float) -> float:
    """|Z| of the score test, its nuisance parameter by brute-force maximum likelihood.

    Independent of the closed form: the multinomial likelihood over a fine grid of P(won).
    """
    # P(lost) = won_rate + difference, and the rest stays a probability.
    low, high = max(0.0, -difference), (1 - difference) / 2
    rates = np.linspace(low, high, 20001)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            np.where(np.full_like(p, n) == 0, 0.0, n * np.log(np.maximum(p, 0)))
            for n, p in (
                (lost, rates + difference),
                (won, rates),
                (count - lost - won, 1 - 2 * rates - difference),
            )
        ]
    rate = rates[np.argmax(np.sum(terms, axis=0))]
    variance = (2 * rate + difference - difference**2) / count
    if variance <= 1e-15:
        return math.inf if (lost - won) / count != difference else 0.0
    return abs((lost - won) / count - difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("lost", "won", "count"),
    [(12, 2, 50), (2, 12, 50), (1, 0, 44), (0, 1, 44), (5, 5, 20), (3, 0, 400), (9, 1, 10)],
)
def test_the_interval_is_what_the_score_test_does_not_reject(
    lost: int, won: int, count: int
) -> None:
    low, high = interval(lost, won, count)
    for limit, outwards in ((low, -1), (high, 1)):
        assert score_statistic(lost, won, count, limit) == pytest.approx(math.sqrt(Z2), abs=5e-3)
        assert score_statistic(lost, won, count, limit - outwards * 0.01) < math.sqrt(Z2)
        if abs(limit + outwards * 0.01) < 1:
            assert score_statistic(lost, won, count, limit + outwards * 0.01) > math.sqrt(Z2)


@given(TABLES)
@settings(max_examples=200, deadline=None)
def test_every_table_has_an_interval_around_its_point(table: tuple[int, int, int]) -> None:
    lost, won, count = table
    low, high = interval(lost, won, count)
    assert -1 <= low <= (lost - won) / count <= high <= 1
    assert low < high
    mirrored = interval(won, lost, count)
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("count", [1, 20, 1000, 10**5])
def test_no_difference_seen_is_not_certainty(count: int) -> None:
    expected = Z2 / (count + Z2)
    assert interval(0, 0, count) == (
        pytest.approx(-expected, rel=1e-6),
        pytest.approx(expected, rel=1e-6),
    )


def test_all_lost_reaches_one_and_all_won_minus_one() -> None:
    low, high = interval(30, 0, 30)
    assert high == 1.0 and 0.7 < low < 1
    assert interval(0, 30, 30) == (-1.0, pytest.approx(-low))


def test_more_samples_narrow_it() -> None:
    widths = [high - low for low, high in (interval(n // 10, n // 20, n) for n in (20, 200, 2000))]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize(
    ("lost_rate", "won_rate", "count"), [(0.02, 0.01, 200), (0.1, 0.05, 60), (0.005, 0.005, 400)]
)
def test_it_covers_the_truth_as_often_as_it_says(
    lost_rate: float, won_rate: float, count: int
) -> None:
    generator = np.random.default_rng(1)
    rates = [lost_rate, won_rate, 1 - lost_rate - won_rate]
    tables, times = np.unique(generator.multinomial(count, rates, 4000), axis=0, return_counts=True)
    truth = lost_rate - won_rate
    covered = 0
    for (lost, won, _), often in zip(tables, times, strict=True):
        low, high = interval(int(lost), int(won), count)
        covered += often if low <= truth <= high else 0
    assert covered / 4000 >= 0.93


def test_too_few_samples_have_no_mean_interval() -> None:
    assert mean_interval(np.arange(MIN_BOOTSTRAP_SAMPLES - 1.0)) is None
    assert mean_interval(np.arange(float(MIN_BOOTSTRAP_SAMPLES))) is not None


def test_equal_differences_have_one_point() -> None:
    assert mean_interval(np.full(50, 0.25)) == (0.25, 0.25)


def test_the_mean_interval_is_near_students_for_normal_data() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, 400)
    found = mean_interval(differences)
    assert found is not None
    half = 1.966 * differences.std(ddof=1) / 20
    assert found[0] == pytest.approx(differences.mean() - half, abs=0.015)
    assert found[1] == pytest.approx(differences.mean() + half, abs=0.015)


def test_the_mean_interval_leans_where_the_data_do() -> None:
    differences = np.random.default_rng(3).lognormal(0, 1.5, 60)
    found = mean_interval(differences)
    assert found is not None
    low, high = found
    assert low < differences.mean() < high
    assert high - differences.mean() > 1.2 * (differences.mean() - low)


def test_the_mean_interval_is_the_same_every_time_and_moves_with_the_data() -> None:
    differences = np.random.default_rng(4).normal(size=100)
    first = mean_interval(differences)
    assert first is not None and first == mean_interval(differences)
    moved = mean_interval(differences * 2 + 8)
    assert moved is not None
    assert np.allclose(moved, (first[0] * 2 + 8, first[1] * 2 + 8))


def test_one_outlier_among_zeros_still_has_an_interval() -> None:
    differences = np.zeros(200)
    differences[7] = 1.0
    found = mean_interval(differences)
    assert found is not None
    assert all(map(math.isfinite, found)) and found[0] <= 0.005 <= found[1] and found[1] > 0.01


def test_more_room_needs_fewer_samples() -> None:
    counts = [
        samples_to_resolve(0.002, (-0.01, 0.014), 100, allowed)
        for allowed in (0.003, 0.005, 0.01, 0.02)
    ]
    assert counts == sorted(counts, key=lambda count: -(count or 0))
    assert counts[0] == 14400  # 12 times the room in half-width: 144 times the samples
    assert counts[-1] == 100  # never fewer than there were


@pytest.mark.parametrize("drop", [0.01, 0.02])
def test_no_number_of_samples_helps_a_drop_beyond(drop: float) -> None:
    assert samples_to_resolve(drop, (0.0, 0.1), 100, 0.01) is None
