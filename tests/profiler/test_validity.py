"""Which samples are not to be believed, and what a person is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewright.profiler.job import SAMPLING
from edgewright.profiler.result import Conditions, Validity
from edgewright.profiler.validity import judge

GENERATOR = np.random.default_rng(11)
QUIET = list(GENERATOR.lognormal(np.log(20), 0.03, 130))


def verdict(samples: list[float], **changes: Any) -> Validity:
    conditions = changes.pop("conditions", [])
    sampling = SAMPLING[changes.pop("mode", "quick")]
    return judge(samples, sampling, conditions, **{"rounds": 20, "emulated": False, **changes})


def looks(*frequencies: int, taken: str = "during", **more: Any) -> list[Conditions]:
    return [
        Conditions.model_validate({"taken": taken, "at_s": at, "frequency_hz": hertz, **more})
        for at, hertz in enumerate(frequencies)
    ]


def test_a_quiet_run_is_valid() -> None:
    assert verdict(QUIET, conditions=looks(2_400_000_000, 2_390_000_000)) == Validity(valid=True)


@pytest.mark.parametrize(
    ("samples", "rounds", "mode", "valid"),
    [
        (QUIET[:100], 20, "quick", False),  # neither 128 nor 10 s
        ([600.0] * 20, 20, "quick", True),  # 12 s
        ([6000.0] * 10, 10, "quick", False),  # 60 s, but fewer than 20
        ([1.0] * 500, 20, "quick", False),  # 128, but not a second
        (QUIET, 9, "quick", False),
        ([20.0] * 1024, 20, "release", False),  # 20 s
        ([60.0] * 1024, 20, "release", True),
        ([60.0] * 1024, 19, "release", False),
        ([0.1] * 100_000, 20, "release", True),  # more than anybody needs
    ],
)
def test_enough_samples(samples: list[float], rounds: int, mode: str, valid: bool) -> None:
    found = verdict(samples, rounds=rounds, mode=mode)
    assert found.valid is valid
    assert valid or "too few samples" in found.reasons[0]


def test_throttling_is_told_with_a_remedy() -> None:
    conditions = looks(
        *[1_500_000_000] * 2, throttled=True, throttled_flags="0x50005", temperature_c=84.6
    )
    [reason] = verdict(QUIET, conditions=conditions).reasons
    assert "2 of 2" in reason and "85 °C" in reason and "0x50005" in reason
    assert "heat sink" in reason and "power supply" in reason


def test_a_change_of_frequency_counts_only_while_measuring() -> None:
    idle = looks(600_000_000, taken="before") + looks(600_000_000, taken="after")
    assert verdict(QUIET, conditions=idle + looks(2_400_000_000, 2_400_000_000)).valid
    [reason] = verdict(
        QUIET, conditions=looks(2_400_000_000, 1_800_000_000, governor="ondemand")
    ).reasons
    assert "between 1800 and 2400 MHz (governor ondemand)" in reason
    assert "performance" in reason


def test_drift_beyond_noise() -> None:
    drifting = [sample * (1 + 0.6 * at / len(QUIET)) for at, sample in enumerate(QUIET)]
    [reason] = verdict(drifting).reasons
    assert "drifted" in reason and "cool down" in reason
    assert "up to speed" in verdict(drifting[::-1]).reasons[0]
    assert verdict([s * (1 + 0.05 * at / len(QUIET)) for at, s in enumerate(QUIET)]).valid


def test_noise_is_not_drift() -> None:
    wide = list(GENERATOR.lognormal(np.log(600), 0.25, 21))
    wide[-7:] = sorted(wide)[7:14]
    wide[:7] = [value * 1.12 for value in wide[-7:]]
    assert not any("drifted" in reason for reason in verdict(wide).reasons)


def test_spread() -> None:
    uneven = [sample * (3 if at % 5 == 0 else 1) for at, sample in enumerate(QUIET)]
    [reason] = verdict(uneven).reasons
    assert "too uneven" in reason and "end other programs" in reason


def test_a_timers_jitter_is_not_spread() -> None:
    assert verdict([0.02, 0.02, 0.02, 0.06] * 25_000).valid


def test_an_emulated_device_is_never_valid() -> None:
    assert "emulated" in verdict(QUIET, emulated=True).reasons[0]
