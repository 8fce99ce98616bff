"""The hardware-aware choice: (device, model) -> the recipes worth trying, and why not the others.

Figures are ratios to float of the same runtime at one thread, measured with
`benchmarks/precision.py`: those of an x86 without VNNI are in docs/precision.md, those of one with
VNNI in docs/precision-vnni.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError
from ...targets.abilities import (
    computes_float16,
    has_dot_product,
    integers_only,
    saturates_u8s8,
)
from ...targets.facts import ModelFacts
from ...targets.profile import Accelerator, TargetProfile
from .recipe import Precision, RangeMethod, Recipe, Rule
from .recipes import RECIPES

#: A model with more of its multiply-accumulates in convolutions than this is one of convolutions.
CONVOLUTIONAL_SHARE = 0.5

#: Weights of this many bytes in float32 no longer fit a device's caches, so that reading them
#: decides the speed and INT4 pays.
MEMORY_BOUND_BYTES = 100_000_000

#: Ways to find ranges that the ladder compares (Wu et al. 2020, arXiv:2004.09602, table 5: none is
#: best for every network).
RANGE_METHODS = (
    RangeMethod(percentile=99.999),
    RangeMethod(percentile=99.99),
    RangeMethod(method="min-max"),
    RangeMethod(method="moving-average"),
    RangeMethod(method="mse"),
    RangeMethod(method="entropy"),
)

#: ONNX Runtime's ConvInteger has no fast path: 0.11x-0.30x of float on EfficientNet-Lite0.
_NO_DYNAMIC_CONVOLUTION = (
    "dynamic INT8 slows convolutions down (measured 0.1x-0.6x of float), and they do the work here"
)

Step = Literal["apply", "correct", "search"]


@dataclass(frozen=True)
class PlannedRecipe:
    """A rung of the ladder, or a precision that is left out; `reason` says why.

    Attributes:
        step: 'apply' tries the recipe with each of `ranges` and keeps the best; 'correct' adds bias
            correction and equalization, 'search' keeps the layers that hurt in float. The last two
            start from the static recipe before them, and only where no INT8 was proven so far.
        ranges: the ways to find ranges that are compared; empty takes the recipe as it is.
    """

    precision: Precision
    recipe: Recipe | None
    reason: str
    step: Step = "apply"
    ranges: tuple[RangeMethod, ...] = ()


def plan(
    profile: TargetProfile,
    facts: ModelFacts,
    *,
    has_calibration: bool,
    accelerator: Accelerator | None = None,
) -> tuple[PlannedRecipe, ...]:
    """The ladder for this device, in the order of climbing.

    Args:
        facts: of the float artifact; its format decides the runtime.
        has_calibration: whether static recipes are possible.
        accelerator: what the model is to run on; None: the CPU.
    """
    why = integers_only(profile, facts.format, accelerator)
    if why is not None:
        return _full_integer(why, has_calibration)
    return (
        _float16(profile),
        _dynamic(profile, facts),
        *_static(profile, facts, has_calibration),
        _int4(facts, has_calibration),
    )


def recipe_for(
    precision: Precision,
    profile: TargetProfile,
    facts: ModelFacts,
    accelerator: Accelerator | None = None,
) -> Recipe:
    """The recipe of a precision that the user asks for by name, tuned to the device.

    Raises:
        UsageError: no recipe stands for that precision.
    """
    narrow = facts.format == "onnx" and saturates_u8s8(profile)
    if precision == "int8-dynamic":
        return RECIPES["int8-dynamic-7bit" if narrow else "int8-dynamic"].recipe
    if precision == "int8" and integers_only(profile, facts.format, accelerator) is not None:
        return RECIPES["int8-s8s8"].recipe
    if precision == "int8":
        return RECIPES[_static_name(profile, facts)].recipe
    if precision == "int4":
        convolutions = facts.format == "tflite" and is_convolutional(facts)
        return RECIPES["int4" if convolutions else "int4-b32"].recipe
    if precision in ("float16", "int16", "int8-weights"):
        return RECIPES[precision].recipe
    raise UsageError(
        f"no one recipe stands for {precision}",
        hint="use `edgewright quantize --recipe FILE.json`, or precision auto",
    )


def is_convolutional(facts: ModelFacts) -> bool:
    """Whether convolutions do most of the work."""
    return facts.convolution_share > CONVOLUTIONAL_SHARE


def _full_integer(why: str, has_calibration: bool) -> tuple[PlannedRecipe, ...]:
    """The ladder where every operator has to be quantized: static int8 of the whole graph."""
    others: tuple[Precision, ...] = ("float16", "int8-dynamic", "int4")
    left_out = tuple(PlannedRecipe(precision, None, why) for precision in others)
    if not has_calibration:
        return (*left_out, PlannedRecipe("int8", None, "static INT8 needs calibration data"))
    recipe = RECIPES["int8-s8s8"].recipe
    return (
        *left_out,
        PlannedRecipe("int8", recipe, why, ranges=RANGE_METHODS),
        PlannedRecipe(
            "int8",
            recipe,
            "if no INT8 is proven: with bias correction and equalization",
            step="correct",
        ),
    )


def _float16(profile: TargetProfile) -> PlannedRecipe:
    if not computes_float16(profile):
        core = profile.cpu.clusters[-1].core
        return PlannedRecipe(
            "float16", None, f"{core} has no FP16 arithmetic: no faster than float32 (0.8x-1.0x)"
        )
    return PlannedRecipe("float16", RECIPES["float16"].recipe, "the CPU computes in FP16")


def _dynamic(profile: TargetProfile, facts: ModelFacts) -> PlannedRecipe:
    if is_convolutional(facts):
        return PlannedRecipe("int8-dynamic", None, _NO_DYNAMIC_CONVOLUTION)
    return PlannedRecipe(
        "int8-dynamic",
        recipe_for("int8-dynamic", profile, facts),
        "matrix products gain most from dynamic INT8 (2.3x ONNX Runtime, 2.9x LiteRT on MiniLM)",
    )


def _static(
    profile: TargetProfile, facts: ModelFacts, has_calibration: bool
) -> tuple[PlannedRecipe, ...]:
    if not has_calibration:
        return (PlannedRecipe("int8", None, "static INT8 needs calibration data"),)
    recipe = recipe_for("int8", profile, facts)
    return (
        PlannedRecipe("int8", recipe, _why_static(profile, facts), ranges=RANGE_METHODS),
        PlannedRecipe(
            "int8",
            recipe,
            "if no INT8 is proven: with bias correction and equalization",
            step="correct",
        ),
        PlannedRecipe(
            "int8", recipe, "if no INT8 is proven: the layers that hurt in float", step="search"
        ),
    )


def _int4(facts: ModelFacts, has_calibration: bool) -> PlannedRecipe:
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
    name = "int4-b32" if facts.format == "tflite" else "int4-b32-asymmetric"
    name += "-gptq" if has_calibration else ""
    return PlannedRecipe("int4", RECIPES[name].recipe, "reading the weights decides the speed")


def _why_static(profile: TargetProfile, facts: ModelFacts) -> str:
    if facts.format == "tflite" and saturates_u8s8(profile):
        return "a third of the size; without VNNI no faster than float (1.0x)"
    if facts.format == "tflite":
        return "XNNPACK runs signed INT8 with per-channel weights as one delegated graph"
    if saturates_u8s8(profile):
        return "U8S8 with 7-bit weights: this x86 has no VNNI and 8 bits would saturate"
    if profile.cpu.architecture == "x86_64":
        return "U8S8 per channel runs on VNNI (2.2x; S8S8 1.3x, U8U8 1.0x)"
    if has_dot_product(profile):
        return "S8S8 per channel runs on the dot-product instructions"
    return "S8S8 per channel; the CPU has no dot product, so expect less than on newer cores"


def _static_name(profile: TargetProfile, facts: ModelFacts) -> str:
    """Convolutional models as a whole; others only in their matrix products.

    Quantizing all of MiniLM spoils it (cosine .85 in ONNX Runtime, .79 in LiteRT; .27 and .69 with
    the -3e38 of its original attention mask): softmax and layer norms have ranges that 8 bits can't
    hold.
    """
    if facts.format == "tflite" or profile.cpu.architecture != "x86_64":
        name = "int8-s8s8"
    else:
        name = "int8-u8s8-7bit" if saturates_u8s8(profile) else "int8-u8s8"
    return name if is_convolutional(facts) else f"{name}-linear"


def with_ranges(recipe: Recipe, ranges: RangeMethod) -> Recipe:
    """The recipe with another way to find the ranges of static activations."""
    rules = tuple(
        rule.model_copy(update={"scheme": rule.scheme.model_copy(update={"ranges": ranges})})
        if rule.scheme is not None and rule.scheme.is_static
        else rule
        for rule in recipe.rules
    )
    return recipe.model_copy(update={"rules": rules})


def with_float(recipe: Recipe, layers: Sequence[str]) -> Recipe:
    """The recipe with these operators, by name, kept in float."""
    kept = tuple(Rule(scope=rf"^{re.escape(name)}\Z", scheme=None) for name in layers)
    return recipe.model_copy(update={"rules": recipe.rules + kept})


def preference(facts: ModelFacts) -> tuple[Precision, ...]:
    """Precisions from the one expected to be fastest, until the device has been measured."""
    if is_convolutional(facts):
        return (
            "int8", "mixed", "float16", "float32", "int8-weights", "int4", "int8-dynamic", "int16",
        )  # fmt: skip
    return (
        "int8-dynamic", "int8", "mixed", "int4", "float16", "float32", "int8-weights", "int16",
    )  # fmt: skip
