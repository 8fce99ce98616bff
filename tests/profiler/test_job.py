"""What is to be measured, as the user says it."""

from __future__ import annotations

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.job import MeasureSettings, parse_cpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("big", "big"), ("little", "little"), ("3", (3,)), ("0, 2-4,2", (0, 2, 3, 4))],
)
def test_cores_as_people_name_them(text: str | None, expected: object) -> None:
    assert parse_cpus(text) == expected


@pytest.mark.parametrize("text", ["", "Big", "3-1", "a", "-1", "1,,2", "1-2-3", "99999"])
def test_cores_that_are_not_understood(text: str) -> None:
    with pytest.raises(UsageError, match="are not understood"):
        parse_cpus(text)


def test_a_sustained_run_goes_on_for_its_minutes() -> None:
    settings = MeasureSettings(sustained_minutes=30)
    sampling = settings.effective_sampling
    assert (settings.run_mode, sampling.seconds) == ("sustained", 1800)
    assert settings.effective_deadline_s(2) > 2 * 1800
    assert MeasureSettings(mode="release").run_mode == "release"
