"""For which devices a model fits, and in which precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..targets.abilities import integers_only
from ..targets.answers import Answers
from ..targets.check import check, refusals
from ..targets.check_options import CheckOptions, chosen_accelerator
from ..targets.facts import ModelFacts
from ..targets.finding import CheckResult, Finding, in_order
from ..targets.profile import Accelerator, TargetProfile
from .predicted import predicted
from .quantize.plan import plan, preference
from .quantize.recipe import Precision


@dataclass(frozen=True)
class RankedTarget:
    """One device.

    Attributes:
        fits: whether the model, in the precision told, passes the device's check.
        precision: in which; None for a model that is quantized already, or fits in none.
        predicted: whether that precision is still to be made, so that its check is a prediction.
        runtime: what would run it; None where nothing reads the format.
        accelerator: the id of the one that it would run on; None: the CPU.
        accelerator_share: share of the multiply-accumulates there; None where unknown.
        errors: how many findings speak against it.
        warnings: how many say that it runs worse than it need.
        unknown: how many of those say that nobody knows whether something runs.
        reason: why that precision, or the first finding that speaks against it.
        remedy: what to do about that.
    """

    target: str
    title: str
    fits: bool
    precision: Precision | None
    predicted: bool
    runtime: str | None
    accelerator: str | None
    accelerator_share: float | None
    errors: int
    warnings: int
    unknown: int
    reason: str
    remedy: str


def rank(
    facts: ModelFacts,
    targets: Sequence[TargetProfile],
    options: CheckOptions | None = None,
) -> list[RankedTarget]:
    """Every device, those that the model fits first, with fewest warnings before others.

    What nobody knows is no yes: such devices come after those that are known to fit.

    A float model is judged in each precision that the device's ladder would try, the one expected
    to be fastest first; one that is quantized as it is. Nothing here says how fast a device is.

    Each runtime on this machine is asked once whether it loads the model; what it refuses can't be
    quantized either.
    """
    options = replace(options or CheckOptions(), ask_cpu=True)
    answers = Answers()
    ranked = [_ranked(facts, target, options, answers) for target in targets]
    return sorted(ranked, key=lambda r: (not r.fits, r.unknown > 0, r.warnings, r.errors, r.target))


def _ranked(
    facts: ModelFacts, target: TargetProfile, options: CheckOptions, answers: Answers
) -> RankedTarget:
    accelerator = chosen_accelerator(target, options.accelerator)
    as_it_is = check(facts, target, options, answers)
    if facts.is_quantized or facts.is_float16 or target.runtime_for(facts.format) is None:
        return _row(target, facts, as_it_is, accelerator, None, "it is taken as it is")
    reasons = {
        planned.precision: planned.reason
        for planned in plan(target, facts, has_calibration=True, accelerator=accelerator)
        if planned.recipe is not None and planned.step == "apply"
    }
    reasons.setdefault("float32", "nothing smaller is worth trying here")
    refused = refusals(facts, target, options, answers)
    full_integer = integers_only(target, facts.format, accelerator) is not None
    for precision in preference(facts):
        if precision not in reasons:
            continue
        result = as_it_is
        if precision != "float32":
            made = predicted(facts, precision, full_integer=full_integer)
            # Nobody can be asked about a file that is still to be made.
            result = _with(check(made, target, replace(options, ask=False)), refused)
        if result.compatible:
            return _row(target, facts, result, accelerator, precision, reasons[precision])
    return _row(target, facts, as_it_is, accelerator, None, "")


def _with(result: CheckResult, more: Sequence[Finding]) -> CheckResult:
    return result.model_copy(
        update={
            "compatible": result.compatible and all(f.severity != "error" for f in more),
            "findings": in_order((*result.findings, *more)),
        }
    )


def _row(
    target: TargetProfile,
    facts: ModelFacts,
    result: CheckResult,
    accelerator: Accelerator | None,
    precision: Precision | None,
    reason: str,
) -> RankedTarget:
    runtime = target.runtime_for(facts.format)
    counts = Counter(finding.severity for finding in result.findings)
    first: Finding | None = None if result.compatible else result.findings[0]
    return RankedTarget(
        target=target.name,
        title=target.title,
        fits=result.compatible,
        precision=precision,
        predicted=precision not in (None, "float32"),
        runtime=runtime.name if runtime else None,
        accelerator=accelerator.id if accelerator and runtime else None,
        accelerator_share=_share(result, accelerator) if accelerator and runtime else None,
        errors=counts["error"],
        warnings=counts["warning"],
        unknown=result.unknown,
        reason=_told(first) if first else reason,
        remedy=first.remedy if first else "",
    )


def _share(result: CheckResult, accelerator: Accelerator) -> float | None:
    """Share of the multiply-accumulates that the accelerator takes."""
    for placement in result.placements:
        if placement.support in accelerator.support:
            left = placement.share([n for n in placement.nodes if n.place != "accelerator"])
            return None if left is None or not any(n.macs for n in placement.nodes) else 1 - left
    return None


def _told(finding: Finding) -> str:
    """Its reason, which of a node does not say whose it is."""
    return f"{finding.operator}: {finding.reason}" if finding.operator else finding.reason
