"""Rules about quantized products that run slower or less exactly than they need.

Ratios are to the float model in the same runtime, one thread, EfficientNet-Lite0, measured on
x86-64 with AVX512-VNNI unless said otherwise (onnxruntime 1.31, ai-edge-litert 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .abilities import (
    has_dot_product,
    is_microcontroller,
    is_x86,
    knows_features,
    saturates_u8s8,
)
from .codes import Code
from .facts import CONVOLUTIONS, ModelFacts, QuantizedProducts
from .finding import MOST_NODES, Finding
from .profile import TargetProfile
from .remedies import file_of, quantized

_MEASURED = "measured: docs/precision.md, docs/precision-vnni.md"

#: A magnitude up to which two products of uint8 and int8 add up without saturating int16:
#: 2 * 255 * 64 < 2**15.
_SAFE_WEIGHT = 64


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
        remedy="dynamic ranges suit matrix products; quantize convolutions statically: "
        + _statically(facts, profile),
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
        remedy="quantize with uint8 activations and int8 weights: " + _statically(facts, profile),
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
        remedy="quantize weights to int8: " + _statically(facts, profile),
    )


def saturating_weights(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Full-range int8 weights with uint8 activations on x86 without VNNI.

    vpmaddubsw adds two products in 16 bits and saturates. ONNX Runtime, 'Quantize ONNX models',
    "When to use reduce-range and per-channel quantization?".
    """
    if facts.format != "onnx" or not saturates_u8s8(profile) or not knows_features(profile):
        return
    static = any(not use.dynamic for use in facts.quantized)
    yield from _products(
        facts,
        lambda use: (
            use.activation_dtype == "uint8"
            and use.weight_dtype == "int8"
            and use.operator != "ConvInteger"  # its kernel adds in 32 bits
            and (use.max_weight is None or use.max_weight > _SAFE_WEIGHT)
        ),
        code="saturating-weights",
        reason="without VNNI, sums of uint8 times full-range int8 products saturate: results "
        "differ from other processors' (measured: the same class as float for 88.5% of pictures, "
        "93.5% with 7-bit weights)",
        remedy="quantize with reduced range (7-bit weights): "
        + (
            _statically(facts, profile)
            if static
            else quantized(facts, "int8-dynamic-7bit", calibrated=False)
        ),
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


def four_bit_convolutions(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """INT4 weights of convolutions, which no runtime has fast kernels for."""
    measured = {"onnx": "0.55", "tflite": "0.36"}[facts.format]
    yield from _products(
        facts,
        lambda use: use.weight_dtype in ("int4", "uint4") and use.operator in CONVOLUTIONS,
        code="four-bit-convolution",
        reason=f"4-bit weights of convolutions: {measured} times the speed of float, and most "
        "answers change (measured on x86-64)",
        remedy="quantize convolutions to 8 bits: --recipe int8-s8s8; 4 bits suit large matrix "
        "products",
    )


def int8_without_dot_product(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """int8 on cores that multiply byte by byte: what to expect."""
    if has_dot_product(profile) or not knows_features(profile) or is_microcontroller(profile):
        return
    integers = [u for u in facts.quantized if u.weight_dtype in ("int8", "uint8")]
    integers = [u for u in integers if u.dynamic or u.activation_dtype in ("int8", "uint8")]
    if not integers:
        return
    dynamic = all(use.dynamic for use in integers)
    if is_x86(profile):
        here, there, model = _WITHOUT_VNNI[facts.format, dynamic]
        reason = (
            f"the CPU has no VNNI: expect {here} times the speed of float, where VNNI gives "
            f"{there} (measured with {model}, one thread)"
        )
    else:
        core = profile.cpu.clusters[-1].core
        reason = (
            f"{core} has no dot product instruction (Armv8.2 SDOT): int8 gains less than on newer "
            "cores; how much, nobody measured here"
        )
    yield Finding(
        severity="info",
        code="int8-without-dot-product",
        count=sum(use.count for use in integers),
        reason=reason,
        remedy="int8 is still a quarter of the size; measure both on the device: edgewright "
        f"profile FLOAT32_MODEL {file_of(facts)} --device DEVICE -o RUNS",
        source=_MEASURED,
    )


#: (format, dynamic) -> the speed relative to float without VNNI and with it, and of which model.
_WITHOUT_VNNI: dict[tuple[str, bool], tuple[str, str, str]] = {
    ("onnx", False): ("1.4", "2.2", "EfficientNet-Lite0"),
    ("tflite", False): ("1.0", "2.2", "EfficientNet-Lite0"),
    ("onnx", True): ("1.5", "2.3", "MiniLM"),
    ("tflite", True): ("1.15", "2.9", "MiniLM"),
}


def _statically(facts: ModelFacts, profile: TargetProfile) -> str:
    """The command that makes static int8 as this device's CPU computes it fast and right."""
    if facts.format == "tflite" or not is_x86(profile):
        return quantized(facts, "int8-s8s8")
    return quantized(facts, "int8-u8s8-7bit" if saturates_u8s8(profile) else "int8-u8s8")


def _products(
    facts: ModelFacts,
    applies: Callable[[QuantizedProducts], bool],
    *,
    code: Code,
    reason: str,
    remedy: str,
) -> Iterator[Finding]:
    """A warning for the quantized products that the condition applies to."""
    for use in facts.quantized:
        if applies(use):
            yield Finding(
                severity="warning",
                code=code,
                operator=use.operator,
                nodes=use.nodes[:MOST_NODES],
                count=use.count,
                reason=reason,
                remedy=remedy,
                source=_MEASURED,
            )
