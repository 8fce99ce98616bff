"""Whether a model fits a device: rules over the model's facts and the device's profile."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from ..errors import UsageError
from .answers import Answers
from .facts import ModelFacts
from .finding import CheckResult, Finding, in_order
from .placement import Placement
from .profile import Accelerator, TargetProfile
from .rules_memory import estimated_memory, file_size
from .rules_runtime import (
    custom_operators,
    foreign_domains,
    format_has_runtime,
    ir_version,
    new_operators,
    opset,
    select_operators,
    tflite_runtime_traps,
    tflite_runtime_version,
)
from .rules_speed import (
    dynamic_convolutions,
    dynamic_shapes,
    float16_without_arithmetic,
    float64,
    saturating_weights,
    signed_activations,
    unsigned_weights,
    wide_activations,
)
from .survey import CheckOptions, Survey

__all__ = ["RULES", "CheckOptions", "check"]

Rule = Callable[[ModelFacts, TargetProfile], Iterable[Finding]]

#: Every rule, in the order of its findings.
RULES: tuple[Rule, ...] = (
    format_has_runtime,
    opset,
    ir_version,
    new_operators,
    foreign_domains,
    tflite_runtime_version,
    select_operators,
    custom_operators,
    tflite_runtime_traps,
    file_size,
    estimated_memory,
    dynamic_shapes,
    float16_without_arithmetic,
    float64,
    dynamic_convolutions,
    signed_activations,
    unsigned_weights,
    saturating_weights,
    wide_activations,
)


def check(
    facts: ModelFacts,
    profile: TargetProfile,
    options: CheckOptions | None = None,
    answers: Answers | None = None,
) -> CheckResult:
    """Applies every rule.

    Args:
        facts: what `inspect_model` found.
        profile: the device.
        options: which of its runtimes and accelerators.
        answers: where what runtimes and compilers answer is kept, for a next check.

    Raises:
        UsageError: the device has no runtime or accelerator of that name.
    """
    options = options or CheckOptions()
    device = _with_runtime(profile, options.runtime)
    accelerator = _accelerator(profile, options.accelerator)
    findings = [finding for rule in RULES for finding in rule(facts, device)]
    runtime = device.runtime_for(facts.format)
    placements: tuple[Placement, ...] = ()
    if runtime is not None:
        survey = Survey(facts, device, runtime, accelerator, options, answers or Answers())
        findings += survey.findings()
        placements = tuple(survey.placements)
    return CheckResult(
        compatible=all(finding.severity != "error" for finding in findings),
        findings=in_order(findings),
        placements=placements,
    )


def _with_runtime(profile: TargetProfile, name: str | None) -> TargetProfile:
    """The device with just this runtime, so that every rule is about it."""
    if name is None:
        return profile
    for runtime in profile.runtimes:
        if runtime.name == name:
            return profile.model_copy(update={"runtimes": (runtime,)})
    raise _unknown("runtime", name, [runtime.name for runtime in profile.runtimes], profile)


def _accelerator(profile: TargetProfile, name: str | None) -> Accelerator | None:
    wanted = profile.default_accelerator if name is None else name
    if wanted in (None, "none"):
        return None
    for accelerator in profile.accelerators:
        if accelerator.id == wanted:
            return accelerator
    names = [accelerator.id for accelerator in profile.accelerators]
    raise _unknown("accelerator", str(wanted), [*names, "none"], profile)


def _unknown(what: str, name: str, names: list[str], profile: TargetProfile) -> UsageError:
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return UsageError(
        f"{profile.name} has no {what} '{name}'; there {'is' if len(names) == 1 else 'are'} "
        + ", ".join(names),
        hint=f"did you mean '{near[0]}'?" if near else None,
    )
