"""The hardware-aware choice: (device, model) -> the recipes worth trying, and why not the others.

Figures are ratios to float of the same runtime at one thread. Those of an x86 without VNNI are in
docs/precision.md, measured with `benchmarks/precision.py`; those of one with VNNI were measured
likewise before, on another machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from ...targets.facts import ModelFacts
from ...targets.profile import TargetProfile
from ..artifact import Precision
from .recipe import Calibration, Recipe, Rule, Scheme

#: A model with more of its multiply-accumulates in convolutions than this is one of convolutions.
CONVOLUTIONAL_SHARE = 0.5

#: Weights of this many bytes in float32 no longer fit a device's caches, so that reading them
#: decides the speed and INT4 pays.
MEMORY_BOUND_BYTES = 100_000_000

#: ONNX Runtime's ConvInteger has no fast path: 0.11x-0.30x of float on EfficientNet-Lite0.
_NO_DYNAMIC_CONVOLUTION = (
    "dynamic INT8 slows convolutions down (measured 0.1x-0.6x of float), and they do the work here"
)


@dataclass(frozen=True)
class PlannedRecipe:
    """A recipe worth trying, or a precision that is not; `reason` says why."""

    precision: Precision
    recipe: Recipe | None
    reason: str


def plan(
    profile: TargetProfile, facts: ModelFacts, *, has_calibration: bool
) -> tuple[PlannedRecipe, ...]:
    """What `--precision auto` tries for this device, in the order of the ladder.

    Args:
        facts: of the float artifact; its format decides the runtime.
        has_calibration: whether static recipes are possible.

    Returns:
        One entry for each precision; those left out have no recipe, but a reason.
    """
    return (
        _float16(profile, facts),
        _dynamic(profile, facts),
        _static(profile, facts, has_calibration),
        _int4(profile, facts),
    )


def recipe_for(precision: Precision, profile: TargetProfile, facts: ModelFacts) -> Recipe:
    """The recipe of a precision that the user asks for by name, tuned to the device.

    Raises:
        UsageError: the format has no such precision.
    """
    if precision == "float16":
        return _float16_recipe(facts)
    if precision == "int8-dynamic":
        return _dynamic_recipe(profile, facts)
    if precision == "int8":
        return _static_recipe(profile, facts)
    if precision == "int4":
        return _int4_recipe(facts)
    if precision == "int8-weights":
        if facts.format == "onnx":
            raise UsageError(
                "ONNX has no weight-only INT8 here",
                hint="use int8-dynamic or int4, or --format tflite",
            )
        return _recipe(facts, "int8-weights", Scheme(weights="int8"))
    raise UsageError(f"{precision} is not quantized")


def is_convolutional(facts: ModelFacts) -> bool:
    """Whether convolutions do most of the work."""
    return facts.convolution_share > CONVOLUTIONAL_SHARE


def saturates(profile: TargetProfile) -> bool:
    """Whether U8S8 products overflow 16 bits on this CPU: x86 without VNNI (`vpmaddubsw`).

    EfficientNet-Lite0 on AVX2: SQNR 8.0 dB with 8-bit weights, 13.3 dB with 7-bit ones.
    """
    return profile.cpu.architecture == "x86_64" and not (
        profile.cpu.features & {"avx512_vnni", "avx_vnni"}
    )


def _float16(profile: TargetProfile, facts: ModelFacts) -> PlannedRecipe:
    if "fp16" not in profile.cpu.features:
        core = profile.cpu.clusters[-1].core
        return PlannedRecipe(
            "float16", None, f"{core} has no FP16 arithmetic: no faster than float32 (0.8x-1.0x)"
        )
    return PlannedRecipe("float16", _float16_recipe(facts), "the CPU computes in FP16")


def _dynamic(profile: TargetProfile, facts: ModelFacts) -> PlannedRecipe:
    if is_convolutional(facts):
        return PlannedRecipe("int8-dynamic", None, _NO_DYNAMIC_CONVOLUTION)
    return PlannedRecipe(
        "int8-dynamic",
        _dynamic_recipe(profile, facts),
        "matrix products gain most from dynamic INT8 (2.3x ONNX Runtime, 4.0x LiteRT on MiniLM)",
    )


def _static(profile: TargetProfile, facts: ModelFacts, has_calibration: bool) -> PlannedRecipe:
    if not has_calibration:
        return PlannedRecipe("int8", None, "static INT8 needs calibration data")
    return PlannedRecipe("int8", _static_recipe(profile, facts), _why_static(profile, facts))


def _int4(profile: TargetProfile, facts: ModelFacts) -> PlannedRecipe:
    if is_convolutional(facts):
        why = (
            "MatMulNBits is for matrix products, and convolutions do the work here"
            if facts.format == "onnx"
            else "INT4 weights slow convolutions down (0.3x-0.4x)"
        )
        return PlannedRecipe("int4", None, why)
    if facts.weight_bytes < MEMORY_BOUND_BYTES:
        return PlannedRecipe(
            "int4",
            None,
            f"INT4 weights pay where reading {MEMORY_BOUND_BYTES // 10**6} MB or more of weights "
            f"decides the speed; these are {facts.weight_bytes / 1e6:.0f} MB",
        )
    return PlannedRecipe("int4", _int4_recipe(facts), "reading the weights decides the speed")


def _why_static(profile: TargetProfile, facts: ModelFacts) -> str:
    if facts.format == "tflite" and saturates(profile):
        return "a third of the size; without VNNI no faster than float (1.0x)"
    if facts.format == "tflite":
        return "XNNPACK runs signed INT8 with per-channel weights as one delegated graph"
    if saturates(profile):
        return "U8S8 with 7-bit weights: this x86 has no VNNI and 8 bits would saturate"
    if profile.cpu.architecture == "x86_64":
        return "U8S8 per channel runs on VNNI (1.8x; S8S8 1.1x, U8U8 0.2x)"
    if "dotprod" in profile.cpu.features:
        return "S8S8 per channel runs on the dot-product instructions"
    return "S8S8 per channel; the CPU has no dot product, so expect less than on newer cores"


def _float16_recipe(facts: ModelFacts) -> Recipe:
    scheme = Scheme(weights="float16", activations="float16", granularity="per-tensor")
    return _recipe(facts, "float16", scheme)


def _dynamic_recipe(profile: TargetProfile, facts: ModelFacts) -> Recipe:
    scheme = Scheme(
        weights="int8",
        activations="dynamic",
        reduce_range=facts.format == "onnx" and saturates(profile),
    )
    return _recipe(facts, "int8-dynamic", scheme)


def _static_recipe(profile: TargetProfile, facts: ModelFacts) -> Recipe:
    """Convolutional models as a whole; others only in their matrix products.

    Quantizing all of MiniLM spoils it (cosine .85 in ONNX Runtime, .79 in LiteRT; .27 and .69 with
    the -3e38 of its original attention mask): softmax and layer norms have ranges that 8 bits can't
    hold.
    """
    scheme = (
        Scheme(weights="int8", activations="int8")
        if facts.format == "tflite" or profile.cpu.architecture != "x86_64"
        else Scheme(weights="int8", activations="uint8", reduce_range=saturates(profile))
    )
    calibration = Calibration(method="percentile", percentile=99.999)
    if is_convolutional(facts):
        operators: Sequence[str] = ("*",)
    else:
        operators = ("MatMul", "Gemm") if facts.format == "onnx" else ("FULLY_CONNECTED",)
    return _recipe(facts, "int8", scheme, operators, calibration)


def _int4_recipe(facts: ModelFacts) -> Recipe:
    if facts.format == "onnx":
        scheme = Scheme(weights="int4", granularity="blockwise", block_size=32)
        return _recipe(facts, "int4", scheme, ("MatMul",))
    if is_convolutional(facts):
        return _recipe(facts, "int4", Scheme(weights="int4"))
    scheme = Scheme(weights="int4", activations="dynamic", granularity="blockwise", block_size=32)
    return _recipe(facts, "int4", scheme, ("FULLY_CONNECTED",))


def _recipe(
    facts: ModelFacts,
    precision: Precision,
    scheme: Scheme,
    operators: Sequence[str] = ("*",),
    calibration: Calibration | None = None,
) -> Recipe:
    assert precision != "float32"
    return Recipe(
        name=_name(precision, scheme, operators),
        format=facts.format,
        precision=precision,
        rules=tuple(Rule(operator=operator, scheme=scheme) for operator in operators),
        calibration=calibration,
    )


def _name(precision: str, scheme: Scheme, operators: Sequence[str]) -> str:
    parts = [precision]
    if scheme.activations in ("int8", "uint8"):
        parts.append("u8s8" if scheme.activations == "uint8" else "s8s8")
    if scheme.block_size:
        parts.append(f"b{scheme.block_size}")
    if scheme.reduce_range:
        parts.append("7bit")
    if precision == "int8" and "*" not in operators:
        parts.append("linear")
    return "-".join(parts)


def preference(facts: ModelFacts) -> tuple[Precision, ...]:
    """Precisions from the one expected to be fastest, until the device has been measured."""
    if is_convolutional(facts):
        return ("int8", "float16", "float32", "int8-weights", "int4", "int8-dynamic")
    return ("int8-dynamic", "int8", "int4", "float16", "float32", "int8-weights")
