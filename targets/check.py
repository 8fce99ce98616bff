"""Whether a model fits a device: rules over the model's facts and the device's profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from .answers import Answers
from .check_options import CheckOptions, chosen_accelerator, with_runtime
from .facts import ModelFacts
from .finding import CheckResult, Finding, in_order, with_nodes
from .placement import Placement
from .profile import TargetProfile
from .rules_memory import file_size, memory, needs, too_large
from .rules_quantized import (
    dynamic_convolutions,
    four_bit_convolutions,
    int8_without_dot_product,
    saturating_weights,
    signed_activations,
    unsigned_weights,
    wide_activations,
)
from .rules_runtime import (
    custom_operators,
    foreign_domains,
    format_has_runtime,
    ir_version,
    opset,
    select_operators,
    tflite_runtime_traps,
    tflite_runtime_version,
)
from .rules_shapes import external_data, float_borders
from .rules_speed import dynamic_shapes, float16_without_arithmetic, float64
from .survey import Survey

__all__ = ["CPU_RULES", "RULES", "CheckOptions", "check", "refusals"]

Rule = Callable[[ModelFacts, TargetProfile], Iterable[Finding]]

#: Whether the model can be loaded and run, in the order of findings.
RULES: tuple[Rule, ...] = (
    opset,
    ir_version,
    foreign_domains,
    tflite_runtime_version,
    select_operators,
    custom_operators,
    tflite_runtime_traps,
    external_data,
    file_size,
    dynamic_shapes,
    float64,
    float_borders,
)

#: What is slow or inexact on the CPU: nothing to say where all of the work is done elsewhere.
CPU_RULES: tuple[Rule, ...] = (
    float16_without_arithmetic,
    dynamic_convolutions,
    signed_activations,
    unsigned_weights,
    saturating_weights,
    wide_activations,
    four_bit_convolutions,
    int8_without_dot_product,
)


def check(
    facts: ModelFacts,
    profile: TargetProfile,
    options: CheckOptions | None = None,
    answers: Answers | None = None,
) -> CheckResult:
    """Applies every rule.

    Of a model whose file the device has no room for nobody is asked: that takes seconds, and
    changes nothing.

    Args:
        facts: what `inspect_model` found.
        profile: the device.
        options: which of its runtimes and accelerators.
        answers: where what runtimes and compilers answer is kept, for a next check.

    Raises:
        UsageError: the device has no runtime or accelerator of that name.
    """
    options = options or CheckOptions()
    device = with_runtime(profile, options.runtime)
    accelerator = chosen_accelerator(profile, options.accelerator)
    answers = answers or Answers()
    unasked = too_large(facts, device) if options.ask else None
    if unasked is not None:
        options = dataclasses.replace(options, ask=False)
    runtime = device.runtime_for(facts.format)
    survey = None
    if runtime is not None:
        survey = Survey(facts, device, runtime, accelerator, options, answers, unasked)
        survey.begin()
    findings = list(format_has_runtime(facts, profile, options.runtime))
    findings += [finding for rule in RULES for finding in rule(facts, device)]
    asked = answers if options.ask else None
    findings += memory(facts, device, asked)
    placements: tuple[Placement, ...] = ()
    on_cpu = True
    if survey is not None:
        findings += survey.findings()
        placements = tuple(survey.placements)
        on_cpu = survey.leaves_work
    if on_cpu:
        findings += [finding for rule in CPU_RULES for finding in rule(facts, device)]
    if any(f.severity == "error" and f.code != "runtime-refuses" for f in findings):
        # What the runtime here says is the same once more, in other words.
        findings = [finding for finding in findings if finding.code != "runtime-refuses"]
    return CheckResult(
        compatible=all(finding.severity != "error" for finding in findings),
        findings=in_order(with_nodes(finding, facts) for finding in findings),
        placements=placements,
        needs=needs(facts, device, asked) if runtime is not None else (),
    )


def refusals(
    facts: ModelFacts, profile: TargetProfile, options: CheckOptions, answers: Answers
) -> tuple[Finding, ...]:
    """What the runtime on this machine says against a model, whatever else `check` finds wrong.

    What is to be made of a model goes through a runtime that has to load it.
    """
    device = with_runtime(profile, options.runtime)
    runtime = device.runtime_for(facts.format)
    if runtime is None:
        return ()
    accelerator = chosen_accelerator(profile, options.accelerator)
    survey = Survey(facts, device, runtime, accelerator, options, answers)
    return tuple(finding for finding in survey.findings() if finding.code == "runtime-refuses")
