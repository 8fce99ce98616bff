"""Which samples are not to be believed, and what a person is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewright.profiler.job import SAMPLING
from edgewright.profiler.result import ClusterState, Conditions, Validity
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
        ([0.1] * 100_000, 20, "release", False),  # 10 s
    ],
)
def test_enough_samples(samples: list[float], rounds: int, mode: str, valid: bool) -> None:
    found = verdict(samples, rounds=rounds, mode=mode)
    assert found.valid is valid
    assert valid or "too few samples" in found.reasons[0]


def test_time_between_the_samples_counts() -> None:
    fast = [0.1] * 100_000
    assert verdict(fast, mode="release", unkept_s=50).valid
    assert not verdict(fast, mode="release", unkept_s=49).valid


def test_throttling_is_told_with_a_remedy() -> None:
    conditions = looks(
        *[1_500_000_000] * 2, throttled=True, throttled_flags="0x50005", temperature_c=84.6
    )
    [reason] = verdict(QUIET, conditions=conditions).reasons
    assert "2 of 2" in reason and "85 °C" in reason and "0x50005" in reason
    assert "heat sink" in reason and "power supply" in reason


def pi_looks(*flags: str) -> list[Conditions]:
    return [
        look.model_copy(update={"throttled": False, "throttled_flags": text})
        for look, text in zip(looks(*[1_500_000_000] * len(flags)), flags, strict=True)
    ]


def test_throttling_that_no_look_saw_is_what_the_firmware_remembers() -> None:
    [reason] = verdict(QUIET, conditions=pi_looks("0x0", "0x0", "0x60000")).reasons
    assert "between two looks" in reason and "0x0 before, 0x60000 after" in reason
    assert verdict(QUIET, conditions=pi_looks("0x50000", "0x50000")).valid, "long ago"
    assert verdict(QUIET, conditions=pi_looks("", "thermal status none")).valid


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


def clusters(governor: str, now_mhz: int, maximum_mhz: int = 2400) -> tuple[ClusterState, ...]:
    return (
        ClusterState(
            cpus=(0, 1, 2, 3),
            governor=governor,
            frequency_hz=now_mhz * 1_000_000,
            max_frequency_hz=maximum_mhz * 1_000_000,
        ),
    )


@pytest.mark.parametrize(
    ("governor", "mhz", "valid"),
    [("powersave", 1500, False), ("powersave", 2400, True), ("ondemand", 1500, True)],
)
def test_a_governor_that_holds_the_cpu_back(governor: str, mhz: int, valid: bool) -> None:
    found = verdict(QUIET, conditions=looks(0, 0, clusters=clusters(governor, mhz)))
    assert found.valid is valid
    assert valid or "governor 'powersave' held the CPU at 1500 of 2400 MHz" in found.reasons[0]


def test_the_governor_of_cores_that_were_not_used_is_no_matter() -> None:
    conditions = looks(0, 0, clusters=clusters("powersave", 1500))
    assert verdict(QUIET, conditions=conditions, cpus=(4, 5)).valid
    assert not verdict(QUIET, conditions=conditions, cpus=(3, 4)).valid


@pytest.mark.parametrize(
    ("other", "threads", "cores", "valid"),
    [
        (3.0, 1, 4, True),
        (3.5, 1, 4, False),
        (0.6, 4, 4, False),
        (0.2, 4, 4, True),
        (9, 1, None, True),
    ],
)
def test_other_programs_may_use_what_we_leave(
    other: float, threads: int, cores: int | None, valid: bool
) -> None:
    conditions = looks(0, 0, 0, other_cpu=other)
    found = verdict(QUIET, conditions=conditions, threads=threads, cores=cores)
    assert found.valid is valid
    assert valid or "other programs kept" in found.reasons[0]


def test_a_device_that_still_heats_up() -> None:
    warming = [looks(0, temperature_c=celsius)[0] for celsius in (45.0, 55.0, 61.0)]
    [reason] = verdict(QUIET, conditions=warming).reasons
    assert "heating up, from 45 to 61" in reason
    assert verdict(QUIET, conditions=warming[:2]).valid


def test_heat_is_no_fault_where_it_is_what_is_measured() -> None:
    hot = looks(2_400_000_000, 1_500_000_000, throttled=True, temperature_c=85)
    drifting = [20.0] * 500 + [40.0] * 500
    assert len(verdict(drifting, conditions=hot).reasons) >= 3
    assert verdict(drifting, conditions=hot, sustained=True).valid
    assert not verdict(drifting, conditions=hot, sustained=True, emulated=True).valid


def test_only_the_frequency_of_cores_that_were_used_counts() -> None:
    def both(small: int, big: int) -> tuple[ClusterState, ...]:
        return (
            ClusterState(cpus=(0, 1), frequency_hz=small),
            ClusterState(cpus=(2, 3), frequency_hz=big),
        )

    moving = [
        looks(0, clusters=both(1_000_000_000, hertz))[0] for hertz in (2_000_000_000, 1_500_000_000)
    ]
    assert not verdict(QUIET, conditions=moving).valid
    assert verdict(QUIET, conditions=moving, cpus=(0, 1)).valid


def test_a_cpu_that_may_be_emulated_is_not_believed() -> None:
    [reason] = verdict(QUIET, emulated=None).reasons
    assert "could not be told" in reason
