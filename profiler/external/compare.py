"""One run of a tool against another of the same tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from ..gate import Verdict
from ..report import comparison_document
from ..stats import Comparison, compare_runs
from .figures import ExternalRun


@dataclass(frozen=True)
class _Samples:
    measurement: str
    samples_ms: tuple[float, ...]
    rounds: tuple[int, ...]


def compare_external(reference: ExternalRun, run: ExternalRun) -> Comparison:
    """The ratio of their times: with an interval where both have every inference, of means else.

    Raises:
        UsageError: they are of different tools or devices, whose times are not of one kind.
    """
    for what, first, second in (
        ("tools", reference.tool.name, run.tool.name),
        ("devices", reference.device.address, run.device.address),
    ):
        if first != second:
            raise UsageError(f"the runs are of different {what}: {first} and {second}")
    if reference.samples_ms is None or run.samples_ms is None:
        ratio = run.latency.mean_ms / reference.latency.mean_ms
        return Comparison(ratio, None, "unpaired")
    return compare_runs(
        _Samples(reference.measurement, reference.samples_ms, reference.rounds),
        _Samples(run.measurement, run.samples_ms, run.rounds),
    )


def judge_external_slowdown(
    reference: ExternalRun, run: ExternalRun, comparison: Comparison, max_slowdown: float | None
) -> Verdict:
    """Whether a run may stand in the place of another, by what is known: unproven is no."""
    reasons = [
        f"{name} is invalid: {each.validity.reasons[0]}"
        for name, each in (("the reference", reference), ("the run", run))
        if not each.validity.valid
    ]
    if run.correctness.status != "passed":
        reasons.append(f"whether its answers are right is unknown: {run.correctness.reason}")
    if max_slowdown is not None and comparison.interval is None:
        why = run.missing.get("samples_ms") or reference.missing.get("samples_ms")
        reasons.append(
            "the ratio has no interval, so nothing is proven: " + (why or "too few inferences")
        )
    elif max_slowdown is not None and comparison.interval is not None:
        excess = comparison.interval[1] - 1
        if excess > max_slowdown:
            reasons.append(
                f"not proven at most {max_slowdown:.0%} slower: the interval reaches {excess:+.0%}"
            )
    return Verdict(not reasons, None, tuple(reasons))


def compared_external_document(
    reference: ExternalRun, run: ExternalRun, comparison: Comparison, verdict: Verdict
) -> dict[str, Any]:
    """What `edgewright compare --json` prints of such runs."""
    return {
        "schema_version": 1,
        "kind": "external",
        **comparison_document(comparison),
        "verdict": {"passed": verdict.passed, "reasons": list(verdict.reasons)},
        "reference": _side(reference),
        "run": _side(run),
    }


def _side(run: ExternalRun) -> dict[str, Any]:
    shown = {"model_name", "model_sha256", "source", "tool", "latency", "acceleration", "validity"}
    return run.model_dump(mode="json", include=shown)
