"""What a long run shows of heat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import fake_run

from edgewright.profiler.heat import STRETCHES, Moment, over_time
from edgewright.profiler.result import Conditions, Run


def moment(at_s: float, temperature_c: float, hertz: int, throttled: bool) -> Moment:
    return Moment(at_s=at_s, temperature_c=temperature_c, frequency_hz=hertz, throttled=throttled)


def test_a_board_that_throttles_in_its_second_half() -> None:
    samples = [10.0] * 3000 + [15.0] * 2000
    moments = [
        moment(5.0 + at, 50 + at / 2, 1_800_000_000 if at < 30 else 1_200_000_000, at >= 30)
        for at in range(61)
    ]
    found = over_time(samples, moments)
    assert len(found) == STRETCHES
    assert [part.p50_ms for part in found] == [10.0] * 5 + [15.0] * 5
    assert found[0].from_s == 0 and found[-1].to_s == pytest.approx(60)
    assert found[0].throttled is False and found[-1].throttled is True
    assert found[-1].temperature_c == 80 and found[-1].frequency_hz == 1_200_000_000


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=200))
def test_no_sample_is_lost_or_counted_twice(samples: list[float]) -> None:
    found = over_time(samples, [])
    assert 1 <= len(found) <= STRETCHES
    assert all(part.temperature_c is None and part.throttled is None for part in found)
    assert all(min(samples) <= part.p50_ms <= part.p90_ms <= max(samples) for part in found)


def test_only_sustained_runs_tell_it() -> None:
    conditions = [Conditions(taken="during", at_s=at, temperature_c=50 + at) for at in range(3)]
    blocks = [[1.0] * 100] * 20
    assert fake_run(blocks).over_time == ()
    run = fake_run(blocks, mode="sustained", conditions=conditions)
    assert run.over_time[-1].temperature_c == 52
    assert Run.from_json(run.to_json()) == run
