"""Yes or no to a release, from what was proven and measured; what is unproven never passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..exporters.candidate import Candidate
from ..targets.profile import TargetProfile
from .result import FailedRun, Run
from .stats import Comparison, compare_runs

Measured = Run | FailedRun


@dataclass(frozen=True)
class Limits:
    """What a release may cost; None is not judged.

    Attributes:
        max_p90_ms: judged by the upper end of p90's 95% confidence interval.
        accept_invalid: the user's words for passing runs that are not valid, or of another kind of
            device; None: they fail.
    """

    max_p90_ms: float | None = None
    max_size_bytes: int | None = None
    max_peak_rss_bytes: int | None = None
    accept_invalid: str | None = None


@dataclass(frozen=True)
class Judged:
    """One candidate before the gate.

    Attributes:
        runs: what each device (by address) measured; empty where it was not measured.
        ratios: time relative to the float model of the same format, by device.
        breaches: how it breaks the budget or does not fit a target.
        unproven: what keeps it from being proven: accuracy, or a measurement that failed, was
            spoilt, or was made on another kind of device.
    """

    candidate: Candidate
    runs: Mapping[str, Measured]
    ratios: Mapping[str, Comparison]
    breaches: tuple[str, ...]
    unproven: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not pass; empty where it does."""
        return self.unproven + self.breaches

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def is_faster(self) -> bool:
        """Proven faster than its float model on every device."""
        return (
            bool(self.runs)
            and set(self.ratios) == set(self.runs)
            and all(ratio.is_faster for ratio in self.ratios.values())
        )

    @property
    def p50_ms(self) -> float:
        """Geometric mean over the devices; infinite where one could not measure it."""
        values = [r.latency_ms.p50 if isinstance(r, Run) else math.inf for r in self.runs.values()]
        if not values or math.inf in values:
            return math.inf
        return math.exp(sum(math.log(value) for value in values) / len(values))


@dataclass(frozen=True)
class Verdict:
    """The answer, with its reasons."""

    passed: bool
    chosen: str | None
    reasons: tuple[str, ...]


def judge(
    candidate: Candidate,
    runs: Mapping[str, Measured],
    floats: Mapping[str, Measured],
    limits: Limits,
    targets: Sequence[TargetProfile],
) -> Judged:
    """Holds one candidate against the budget on every device.

    Args:
        runs: of this candidate, by device.
        floats: of the float model of the same format, by device.
        targets: what the release is for; each needs a device of its architecture among the runs.
    """
    ratios = {
        device: compare_runs(reference, run)
        for device, run in runs.items()
        if isinstance(run, Run)
        and isinstance(reference := floats.get(device), Run)
        and candidate.artifact.precision != "float32"
    }
    breaches = [*_compatibility(candidate), *_size(candidate, limits)]
    unproven = _accuracy(candidate)
    for device, run in runs.items():
        unproven += _measurement(device, run, limits)
        if isinstance(run, Run):
            breaches += _budget(device, run, limits)
    if limits.accept_invalid is None:
        unproven += _elsewhere(runs, targets)
    if not runs and not breaches and not unproven:
        unproven = ["was not measured on any device"]
    return Judged(candidate, runs, ratios, tuple(breaches), tuple(unproven))


def decide(judged: Sequence[Judged]) -> Verdict:
    """Chooses the fastest candidate that passes.

    A quantized one has to be proven faster than its float model, unless that breaks the budget.
    """
    floats = {j.candidate.artifact.format: j for j in judged if _is_float(j)}
    reasons = []
    for item in sorted((j for j in judged if j.passed), key=lambda j: j.p50_ms):
        reference = floats[item.candidate.artifact.format]
        hopeless = bool(reference.breaches) and not reference.unproven
        if _is_float(item) or item.is_faster or hopeless:
            return Verdict(True, item.candidate.name, _why(item))
        if not reference.passed:
            reasons.append(
                f"{item.candidate.name}: not proven faster than float, whose own measurement "
                f"does not count: {reference.reasons[0]}"
            )
    reasons += [f"{j.candidate.name}: {j.reasons[0]}" for j in judged if not j.passed]
    return Verdict(False, None, tuple(reasons))


def judge_slowdown(
    reference: Run, run: Run, comparison: Comparison, max_slowdown: float | None
) -> Verdict:
    """Whether a run may stand in the place of another; without a limit, whether the two count.

    Args:
        max_slowdown: how much longer it may take, as a part of the reference's time.
    """
    reasons = [
        f"{name} is invalid: {each.validity.reasons[0]}"
        for name, each in (("the reference", reference), ("the run", run))
        if not each.validity.valid
    ]
    if run.batch != reference.batch:
        reasons.append(
            f"an inference of the reference takes {reference.batch} samples, one of the run "
            f"{run.batch}: their times are not of the same work"
        )
    if run.correctness.status != "passed":
        told = "not right" if run.correctness.status == "failed" else "not known to be right"
        reasons.append(f"the run's answers are {told}: {run.correctness.reason}")
    if max_slowdown is not None:
        if comparison.interval is None:
            reasons.append("too few rounds for an interval")
        elif comparison.interval[1] > 1 + max_slowdown:
            reasons.append(
                f"not proven at most {max_slowdown:.0%} slower: the interval reaches "
                f"{comparison.interval[1] - 1:+.0%}"
            )
    return Verdict(not reasons, None, tuple(reasons))


def _is_float(item: Judged) -> bool:
    return item.candidate.artifact.precision == "float32"


def _why(item: Judged) -> tuple[str, ...]:
    reasons = [item.candidate.reason]
    for device, ratio in item.ratios.items():
        told = f"{ratio.speedup:.2f}x the speed of float on {device}"
        if ratio.interval is not None:
            told += f" [{1 / ratio.interval[1]:.2f}, {1 / ratio.interval[0]:.2f}]"
        reasons.append(told)
    if _is_float(item):
        reasons = ["no quantized candidate is proven to be as good and faster; float it is"]
    return tuple(reasons)


def _accuracy(candidate: Candidate) -> list[str]:
    if candidate.status == "kept":
        return []
    return [f"{candidate.status}: {candidate.reason}"]


def _compatibility(candidate: Candidate) -> list[str]:
    return [
        f"does not fit {target}: {finding.reason}"
        for target, result in candidate.checks.items()
        for finding in result.findings
        if finding.severity == "error"
    ]


def _size(candidate: Candidate, limits: Limits) -> list[str]:
    size = candidate.artifact.size_bytes
    if limits.max_size_bytes is None or size <= limits.max_size_bytes:
        return []
    return [f"is {size} bytes, the budget {limits.max_size_bytes}"]


def _measurement(device: str, run: Measured, limits: Limits) -> list[str]:
    if isinstance(run, FailedRun):
        return [f"failed on {device}: {run.message}"]
    reasons = []
    if run.correctness.status != "passed":
        reasons.append(f"gives wrong answers on {device}: {run.correctness.reason}")
    if not run.validity.valid and limits.accept_invalid is None:
        reasons.append(f"measurement on {device} is invalid: {run.validity.reasons[0]}")
    return reasons


def _elsewhere(runs: Mapping[str, Measured], targets: Sequence[TargetProfile]) -> list[str]:
    kinds = {r.device.architecture: d for d, r in runs.items() if isinstance(r, Run)}
    return [
        f"was not measured on a device like {target.name} ({target.cpu.architecture}), only on "
        + ", ".join(f"{device} ({kind})" for kind, device in kinds.items())
        for target in targets
        if kinds and target.cpu.architecture not in kinds
    ]


def _budget(device: str, run: Run, limits: Limits) -> list[str]:
    reasons = []
    if limits.max_p90_ms is not None:
        reasons += _latency(device, run, limits.max_p90_ms)
    if limits.max_peak_rss_bytes is not None:
        reasons += _memory(device, run, limits.max_peak_rss_bytes)
    return reasons


def _latency(device: str, run: Run, limit: float) -> list[str]:
    latency = run.latency_ms
    if latency.p90_interval is None:
        return [f"p90 on {device} is unproven: {len(run.samples_ms)} samples are too few"]
    if latency.p90_interval[1] > limit:
        return [
            f"p90 on {device} is {latency.p90:.3g} ms "
            f"[{latency.p90_interval[0]:.3g}, {latency.p90_interval[1]:.3g}], the budget {limit:g}"
        ]
    return []


def _memory(device: str, run: Run, limit: int) -> list[str]:
    if run.peak_rss_bytes is None:
        return [f"peak memory on {device} could not be read, so the budget is unproven"]
    if run.peak_rss_bytes > limit:
        return [f"peak memory on {device} is {run.peak_rss_bytes} bytes, the budget {limit}"]
    return []
