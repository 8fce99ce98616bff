"""Whether samples may be believed, in words that need no hardware engineer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .job import Sampling
from .result import ClusterState, Conditions, Validity

#: Median of the last third against that of the first. Boards that throttle lose a fifth of their
#: clock or more at once (Raspberry Pi 4: 1800 to 1400 MHz); less is what sharing a machine does.
MAX_DRIFT = 0.20
#: A drift has to be beyond chance, too (two-sided Mann-Whitney U).
DRIFT_P_VALUE = 0.01
MAX_FREQUENCY_CHANGE = 0.05
#: Governors that hold the CPU back on purpose.
SLOW_GOVERNORS = frozenset({"powersave", "conservative"})
#: Drivers of x86 processors call the usual one "powersave", too, and don't hold back: there the
#: frequency tells.
HELD_BACK = 0.8
#: From the first look while measuring to the last: still far from the temperature it will have.
MAX_HEATING_C = 15.0
#: Cores' worth of work of others beyond what this measurement leaves free.
OTHER_CPU_FLOOR = 0.25
#: p90 / p50. A board that does nothing else stays below 1.1, a desktop with a browser open around
#: 1.2 to 1.4; beyond 2 every tenth inference waits as long for somebody else as it works, and p90,
#: which releases are judged by, would describe that somebody.
MAX_SPREAD = 2.0
#: Differences of p90 and p50 below this are the operating system's timer and interrupts.
SPREAD_FLOOR_MS = 0.05


def judge(
    samples_ms: Sequence[float],
    sampling: Sampling,
    conditions: Sequence[Conditions],
    *,
    rounds: int,
    emulated: bool | None,
    unkept_s: float = 0.0,
    threads: int = 1,
    cores: int | None = None,
    cpus: Sequence[int] | None = None,
    sustained: bool = False,
) -> Validity:
    """The verdict on one run; every reason comes with what to do about it.

    Args:
        samples_ms: in the order they were taken.
        rounds: how many blocks they came in.
        unkept_s: time of inferences between the samples (`result.Run`).
        threads: that the runtime was given.
        cores: of the device; None where unknown.
        cpus: the cores that it was kept on; None where it was free to choose.
        sustained: heat is what is measured: its effects are no reason against the run.
    """
    reasons = [
        *_emulated(emulated),
        *_too_few(samples_ms, sampling, rounds, unkept_s),
        *_governor(conditions, cpus),
        *_other_load(conditions, threads, cores),
    ]
    if not sustained:
        reasons += [
            *_throttled(conditions),
            *_heating(conditions),
            *_frequency(conditions, cpus),
            *_drift(samples_ms),
            *_spread(samples_ms),
        ]
    return Validity(valid=not reasons, reasons=tuple(reasons))


def _own_clusters(moment: Conditions, cpus: Sequence[int] | None) -> list[ClusterState]:
    """The clusters that the measurement may have run on."""
    return [c for c in moment.clusters if cpus is None or set(c.cpus) & set(cpus)]


def _governor(conditions: Sequence[Conditions], cpus: Sequence[int] | None) -> list[str]:
    for moment in conditions:
        for cluster in _own_clusters(moment, cpus) if moment.taken == "during" else ():
            now, most = cluster.frequency_hz, cluster.max_frequency_hz
            if cluster.governor not in SLOW_GOVERNORS or now is None or most is None:
                continue
            if now < HELD_BACK * most:
                return [
                    f"the governor '{cluster.governor}' held the CPU at {now / 1e6:.0f} of "
                    f"{most / 1e6:.0f} MHz: choose another with `sudo cpupower frequency-set -g "
                    "performance` on the device (or end its power saving mode) and measure again"
                ]
    return []


def _other_load(conditions: Sequence[Conditions], threads: int, cores: int | None) -> list[str]:
    seen = [m.other_cpu for m in conditions if m.taken == "during" and m.other_cpu is not None]
    if not seen or cores is None:
        return []
    other = float(np.median(seen))
    free = max(0, cores - threads)
    if other <= free + OTHER_CPU_FLOOR:
        return []
    return [
        f"other programs kept {other:.1f} of the {cores} cores busy, so that {threads} "
        f"thread{'s' if threads > 1 else ''} of ours had to share: end them (or use fewer threads) "
        "and measure again"
    ]


def _heating(conditions: Sequence[Conditions]) -> list[str]:
    seen = [m for m in conditions if m.taken == "during" and m.temperature_c is not None]
    if len(seen) < 2:
        return []
    first, last = seen[0].temperature_c, seen[-1].temperature_c
    if first is None or last is None or last - first <= MAX_HEATING_C:
        return []
    return [
        f"the device was still heating up, from {first:.0f} to {last:.0f} °C: its speed may change "
        "when it is warm; measure again now that it is, or see with --sustained what heat does"
    ]


def _emulated(emulated: bool | None) -> list[str]:
    if emulated is None:
        return [
            "whether the device's CPU is emulated could not be told: measure on a device that can"
        ]
    if not emulated:
        return []
    return [
        "the device's CPU is emulated, so its times say nothing of a real device: "
        "measure on the device itself"
    ]


def _too_few(
    samples_ms: Sequence[float], sampling: Sampling, rounds: int, unkept_s: float
) -> list[str]:
    count, seconds = len(samples_ms), sum(samples_ms) / 1000 + unkept_s
    if count >= sampling.max_queries:
        return []
    enough = [count >= sampling.queries, seconds >= sampling.seconds]
    sufficient = all(enough) if sampling.both else any(enough)
    in_any_case = (
        rounds >= sampling.min_rounds
        and count >= sampling.min_queries
        and seconds >= sampling.min_seconds
    )
    if sufficient and in_any_case:
        return []
    word = "and" if sampling.both else "or"
    return [
        f"too few samples: {count} inferences in {seconds:.1f} s and {rounds} rounds, wanted are "
        f"{sampling.queries} {word} {sampling.seconds:g} s, and at least {sampling.min_queries} in "
        f"{sampling.min_rounds} rounds: raise the deadline (--deadline), or use a faster model"
    ]


def _throttled(conditions: Sequence[Conditions]) -> list[str]:
    held_back = [moment for moment in conditions if moment.throttled]
    if not held_back:
        return _throttled_between(conditions)
    hottest = max((m.temperature_c for m in held_back if m.temperature_c is not None), default=None)
    heat = "" if hottest is None else f", at up to {hottest:.0f} °C"
    flags = ", ".join(sorted({m.throttled_flags for m in held_back if m.throttled_flags}))
    return [
        f"the device slowed itself down in {len(held_back)} of {len(conditions)} looks{heat}"
        f"{f' ({flags})' if flags else ''}: it is too hot or its power supply is too weak; let it "
        "cool down, add a heat sink or fan, use the maker's power supply, and measure again"
    ]


def _throttled_between(conditions: Sequence[Conditions]) -> list[str]:
    """What no look saw, but a Raspberry Pi's firmware has kept: bits 16 to 19, "since boot"."""
    seen = [(m.throttled_flags, _since_boot(m.throttled_flags)) for m in conditions]
    told = [(flags, bits) for flags, bits in seen if bits is not None]
    if not told or not told[-1][1] & ~told[0][1]:
        return []
    return [
        f"the device slowed itself down between two looks at it ({told[0][0]} before, "
        f"{told[-1][0]} after): it is too hot or its power supply is too weak; let it cool down, "
        "use the maker's power supply, and measure again"
    ]


def _since_boot(flags: str | None) -> int | None:
    if flags is None or not re.fullmatch("0x[0-9a-f]{1,8}", flags):
        return None
    return int(flags, 16) >> 16 & 0xF


def _frequency(conditions: Sequence[Conditions], cpus: Sequence[int] | None) -> list[str]:
    # A governor lets an idle CPU sleep: what it does before and after says nothing of the samples.
    seen = [
        hertz
        for m in conditions
        if m.taken == "during" and (hertz := _highest(m, cpus)) is not None
    ]
    if len(seen) < 2 or (max(seen) - min(seen)) <= MAX_FREQUENCY_CHANGE * max(seen):
        return []
    governors = {moment.governor for moment in conditions if moment.governor}
    governor = f" (governor {', '.join(sorted(governors))})" if governors else ""
    return [
        f"the CPU changed its speed while measuring, between {min(seen) / 1e6:.0f} and "
        f"{max(seen) / 1e6:.0f} MHz{governor}: fix it with "
        "`sudo cpupower frequency-set -g performance` on the device and measure again"
    ]


def _highest(moment: Conditions, cpus: Sequence[int] | None) -> int | None:
    """The highest frequency of the clusters that may have been used."""
    seen = [c.frequency_hz for c in _own_clusters(moment, cpus) if c.frequency_hz is not None]
    return max(seen, default=moment.frequency_hz)


def _drift(samples_ms: Sequence[float]) -> list[str]:
    third = len(samples_ms) // 3
    if third < 3:
        return []
    first, last = np.array(samples_ms[:third]), np.array(samples_ms[-third:])
    before, after = float(np.median(first)), float(np.median(last))
    if abs(after - before) <= MAX_DRIFT * before:
        return []
    from scipy.stats import mannwhitneyu

    if mannwhitneyu(first, last).pvalue >= DRIFT_P_VALUE:
        return []
    if after > before:
        why = "it was warming up, or something else started to run: let it cool down, end that"
    else:
        why = (
            "it was still getting up to speed, or something else was running before: wait a minute"
        )
    return [
        f"the times drifted from {before:.3g} ms to {after:.3g} ms during the run; {why}, and "
        "measure again"
    ]


def _spread(samples_ms: Sequence[float]) -> list[str]:
    if not samples_ms:
        return []
    p50, p90 = (float(value) for value in np.percentile(samples_ms, (50, 90)))
    if p90 <= MAX_SPREAD * p50 or p90 - p50 <= SPREAD_FLOOR_MS:
        return []
    return [
        f"the times are too uneven: one inference in ten took {p90:.3g} ms or more, half of them "
        f"{p50:.3g} ms or less; something else is using the device: end other programs (or use "
        "fewer threads than it has cores) and measure again"
    ]
