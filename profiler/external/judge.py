"""Whether the figures of a tool may be believed, as far as it tells enough to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .. import validity
from ..job import Sampling
from ..result import Conditions, Validity
from .base import MOST_RUNS, Figures
from .figures import Acceleration, ReportedLatency

#: Half the 95% interval of the mean by the mean, were the inferences independent. The mean is all
#: that such a tool tells of every inference: beyond this, a few slow ones have made it.
MAX_MEAN_ERROR = 0.10
_REMEDY = "something else is using the device: end other programs and measure again"


def judge_external(
    figures: Figures,
    acceleration: Acceleration | None,
    conditions: Sequence[Conditions],
    sampling: Sampling,
    *,
    emulated: bool | None,
    threads: int,
    cores: int | None,
) -> Validity:
    """The verdict on what a tool reported.

    With every inference known it is the one that Edgewright's own runs get; without, drift can't
    be seen, and spread by the standard deviation alone.
    """
    samples = figures.samples_ms or ()
    sampling = replace(sampling, max_queries=min(sampling.max_queries, MOST_RUNS))
    judged = validity.judge(
        samples,
        sampling,
        conditions,
        rounds=sampling.min_rounds,
        emulated=emulated,
        threads=threads,
        cores=cores,
    )
    reasons = list(judged.reasons)
    if not samples:
        reasons = [reason for reason in reasons if not reason.startswith("too few samples")]
        reasons += [*_too_few(figures.latency, sampling), *_spread(figures.latency)]
    return Validity(
        valid=not (reasons := [*_elsewhere(acceleration), *reasons]), reasons=tuple(reasons)
    )


def _elsewhere(acceleration: Acceleration | None) -> list[str]:
    if acceleration is None or acceleration.status in ("whole", "partial"):
        return []
    wanted = acceleration.requested
    if acceleration.status == "none":
        told = f": {acceleration.evidence[-1]}" if acceleration.evidence else ""
        return [f"nothing of the model ran on {wanted}, which was asked for{told}"]
    return [
        f"the tool's output does not prove that the model ran on {wanted}, which was asked for: "
        "use a build of the tool that says so, or leave --accelerator out"
    ]


def _too_few(latency: ReportedLatency, sampling: Sampling) -> list[str]:
    count, seconds = latency.count, latency.count * latency.mean_ms / 1000
    if count >= sampling.max_queries:
        return []
    enough = [count >= sampling.queries, seconds >= sampling.seconds]
    if (all(enough) if sampling.both else any(enough)) and count >= sampling.min_queries:
        return []
    word = "and" if sampling.both else "or"
    return [
        f"too few inferences: {count} in {seconds:.1f} s, wanted are {sampling.queries} {word} "
        f"{sampling.seconds:g} s, and at least {sampling.min_queries}"
    ]


def _spread(latency: ReportedLatency) -> list[str]:
    middle, high = (latency.percentiles_ms.get(name, 0.0) for name in ("p50", "p95"))
    if middle and high > max(validity.MAX_SPREAD * middle, middle + validity.SPREAD_FLOOR_MS):
        return [
            f"the times are too uneven: one inference in twenty took {high:.3g} ms or more, half "
            f"of them {middle:.3g} ms or less; {_REMEDY}"
        ]
    if latency.std_ms is None:
        return []
    error_ms = 1.96 * latency.std_ms / math.sqrt(latency.count)
    if error_ms <= MAX_MEAN_ERROR * latency.mean_ms:
        return []
    return [
        f"the times are too uneven for a mean: {latency.mean_ms:.3g} ms with a standard deviation "
        f"of {latency.std_ms:.3g} ms in {latency.count} inferences; {_REMEDY}"
    ]
