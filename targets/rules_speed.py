"""Rules about what runs, but slower or less exactly than it need.

Ratios are to the float model in the same runtime, one thread, EfficientNet-Lite0, measured on
x86-64 with AVX512-VNNI unless said otherwise (onnxruntime 1.31, ai-edge-litert 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .abilities import computes_float16, is_x86, knows_features, saturates_u8s8
from .codes import Code
from .facts import CONVOLUTIONS, ModelFacts, QuantizedProducts
from .finding import Finding
from .profile import TargetProfile

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

#: A magnitude up to which two products of uint8 and int8 add up without saturating int16:
#: 2 * 255 * 64 < 2**15.
_SAFE_WEIGHT = 64


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
            remedy="export with fixed shapes to have them checked",
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


def dynamic_convolutions(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Convolutions whose activations are quantized at run time."""
    measured = {
        "onnx": "0.11 (int8 weights) to 0.30 (uint8 weights)",
        "tflite": "0.62",
    }[facts.format]
    yield from _products(
        facts,
        lambda use: use.dynamic and use.operator in CONVOLUTIONS,
        code="dynamic-convolution",
        reason=f"activations of convolutions are quantized at run time: {measured} times the speed "
        "of float, measured on x86-64",
        remedy="quantize convolutions statically, with calibration data; dynamic ranges suit "
        "matrix products",
    )


def signed_activations(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """int8 activations where the processor multiplies uint8 with int8."""
    if facts.format != "onnx" or not is_x86(profile):
        return
    yield from _products(
        facts,
        lambda use: use.activation_dtype == "int8" and not use.dynamic,
        code="signed-activations",
        reason="int8 activations are hardly faster than float in ONNX Runtime on x86-64 (measured: "
        "1.07 times with VNNI, no faster with AVX2 alone; uint8 activations 1.84 times)",
        remedy="export from the float model for this target: uint8 activations, int8 weights "
        "(7 bits without VNNI)",
    )


def unsigned_weights(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """uint8 weights, which x86 has no instruction for."""
    if facts.format != "onnx" or not is_x86(profile):
        return
    yield from _products(
        facts,
        lambda use: (
            use.weight_dtype == "uint8"
            and use.activation_dtype in ("uint8", "int8")
            and not use.dynamic
        ),
        code="unsigned-weights",
        reason="uint8 weights are slower than float in ONNX Runtime on x86-64 (measured: 0.79 "
        "times per tensor, 0.21 times per channel)",
        remedy="quantize weights to int8",
    )


def saturating_weights(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Full-range int8 weights with uint8 activations on x86 without VNNI.

    vpmaddubsw adds two products in 16 bits and saturates. ONNX Runtime, 'Quantize ONNX models',
    "When to use reduce-range and per-channel quantization?".
    """
    if facts.format != "onnx" or not saturates_u8s8(profile) or not knows_features(profile):
        return
    yield from _products(
        facts,
        lambda use: (
            use.activation_dtype == "uint8"
            and use.weight_dtype == "int8"
            and use.operator != "ConvInteger"  # its kernel adds in 32 bits
            and (use.max_weight or 0) > _SAFE_WEIGHT
        ),
        code="saturating-weights",
        reason="without VNNI, sums of uint8 times full-range int8 products saturate: results "
        "differ from other processors' (measured: the same class as float for 88.5% of pictures, "
        "93.5% with 7-bit weights)",
        remedy="quantize with reduced range (7-bit weights) for this device",
    )


def wide_activations(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """16-bit activations, which no runtime has fast kernels for."""
    measured = {"onnx": "0.34", "tflite": "0.05"}[facts.format]
    yield from _products(
        facts,
        lambda use: use.activation_dtype in ("int16", "uint16"),
        code="wide-activations",
        reason=f"16-bit activations: {measured} times the speed of float, measured on x86-64",
        remedy="use 8 bits, and 16 or float for the few layers that need it",
    )


def _count(facts: ModelFacts, dtype: str, skip: frozenset[str]) -> int:
    return sum(
        operator.count
        for operator in facts.operators
        if dtype in operator.dtypes and operator.name not in skip
    )


def _products(
    facts: ModelFacts,
    applies: Callable[[QuantizedProducts], bool],
    *,
    code: Code,
    reason: str,
    remedy: str,
) -> Iterator[Finding]:
    """One warning for each operator with quantized products that the condition applies to."""
    counts: dict[str, int] = {}
    for use in facts.quantized:
        if applies(use):
            counts[use.operator] = counts.get(use.operator, 0) + use.count
    for operator, count in counts.items():
        yield Finding(
            severity="warning",
            code=code,
            operator=operator,
            count=count,
            reason=reason,
            remedy=remedy,
        )
