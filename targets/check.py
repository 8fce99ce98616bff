"""Whether a model fits a device: rules over the model's facts and the device's profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .facts import ModelFacts
from .finding import CheckResult, Finding
from .profile import TargetProfile
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
    edge_tpu,
    float16_without_arithmetic,
    float64,
    saturating_weights,
    signed_activations,
    unsigned_weights,
    wide_activations,
)

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
    edge_tpu,
)

_ORDER = {"error": 0, "warning": 1, "info": 2}


def check(facts: ModelFacts, profile: TargetProfile) -> CheckResult:
    """Applies every rule.

    Args:
        facts: what `inspect_model` found.
        profile: the device.
    """
    findings = [finding for rule in RULES for finding in rule(facts, profile)]
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return CheckResult(
        compatible=all(finding.severity != "error" for finding in findings),
        findings=tuple(findings),
    )
