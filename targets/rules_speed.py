"""Rules about shapes and floating point that run, but slower than they need."""

from __future__ import annotations

from collections.abc import Iterator

from .abilities import computes_float16, knows_features
from .facts import ModelFacts
from .finding import Finding
from .profile import TargetProfile
from .remedies import fixed_shapes

#: Operators that hold or convert values: they tell nothing of how the model computes.
_CONVERTERS = frozenset(
    {
        "Constant",
        "Cast",
        "CastLike",
        "QuantizeLinear",
        "DequantizeLinear",
        "CAST",
        "QUANTIZE",
        "DEQUANTIZE",
    }
)


def dynamic_shapes(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Open dimensions other than the batch."""
    open_inputs = [spec for spec in facts.inputs if None in spec.shape[1:] or spec.shape == (None,)]
    if not open_inputs:
        return
    names = ", ".join(spec.describe() for spec in open_inputs)
    if facts.format == "tflite":
        yield Finding(
            severity="warning",
            code="dynamic-shapes",
            count=len(open_inputs),
            reason=f"open dimensions in {names}: XNNPACK leaves dynamic tensors to slower kernels, "
            "and each new size allocates all tensors again",
            remedy="convert with fixed shapes, one model for each size that is needed",
        )
    else:
        yield Finding(
            severity="info",
            code="dynamic-shapes",
            count=len(open_inputs),
            reason=f"open dimensions in {names}: work and memory depend on sizes given at run time",
            remedy=f"to have them checked, {fixed_shapes(facts)}",
        )


def float16_without_arithmetic(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """float16 on cores that compute in float32 only."""
    if computes_float16(profile) or not knows_features(profile):
        return
    computing = _count(facts, "float16", skip=_CONVERTERS)
    if computing:
        yield Finding(
            severity="warning",
            code="float16-without-arithmetic",
            count=computing,
            reason=f"{computing} operators compute in float16, which the device's cores convert to "
            "float32 and back (measured: 0.72 to 0.86 times float32's speed in ONNX Runtime)",
            remedy="keep float32, or quantize to int8",
        )
    elif any("float16" in operator.dtypes for operator in facts.operators):
        yield Finding(
            severity="info",
            code="float16-weights",
            reason="float16 weights make the file smaller and not the inference faster: the "
            "device's cores compute in float32 (measured: 0.91 times its speed in LiteRT)",
            remedy="quantize to int8 where speed matters",
        )


def float64(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """float64 is twice the memory and half the speed, and rarely meant."""
    count = _count(facts, "float64", skip=_CONVERTERS)
    if count:
        yield Finding(
            severity="warning",
            code="float64",
            count=count,
            reason=f"{count} operators compute in float64: twice the memory, and no fast kernels",
            remedy="convert the model to float32 before it is exported",
        )


def _count(facts: ModelFacts, dtype: str, skip: frozenset[str]) -> int:
    return sum(
        operator.count
        for operator in facts.operators
        if dtype in operator.dtypes and operator.name not in skip
    )
