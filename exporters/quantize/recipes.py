"""Recipes by name: what `edgewright recipes` shows and the plan chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from ...errors import UsageError
from ...targets.profile import Format
from .recipe import RangeMethod, Recipe, Rule, Scheme, read_recipe


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe and what it is for, in one line."""

    recipe: Recipe
    meaning: str


BlockSize = Literal[32, 64, 128]
BLOCKS: tuple[BlockSize, ...] = (32, 64, 128)

_FLOAT16 = Scheme(weights="float16", activations="float16", granularity="per-tensor")
_DYNAMIC = Scheme(weights="int8", activations="dynamic")
_DYNAMIC_7BIT = Scheme(weights="int8", activations="dynamic", reduce_range=True)
_S8S8 = Scheme(weights="int8", activations="int8")
_U8S8 = Scheme(weights="int8", activations="uint8")
_U8S8_7BIT = Scheme(weights="int8", activations="uint8", reduce_range=True)
# 16 bits hold every value; a histogram knows less than they do.
_S16S8 = Scheme(
    weights="int8",
    activations="int16",
    symmetric_activations=True,
    ranges=RangeMethod(method="min-max"),
)
_WEIGHTS = Scheme(weights="int8")
_INT4 = Scheme(weights="int4")


def find_recipe(name: str) -> Recipe:
    """A recipe by name, or from a .json file.

    Raises:
        UsageError: there is none of that name, or the file is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name].recipe
    if name.endswith(".json"):
        return read_recipe(Path(name))
    near = get_close_matches(name, RECIPES, n=3)
    raise UsageError(
        f"no recipe {name!r}",
        hint=(f"did you mean {', '.join(near)}? " if near else "")
        + "`edgewright recipes list` shows them all; a file's name ends in .json",
    )


def _int4(block: BlockSize, *, gptq: bool = False, symmetric: bool = True) -> NamedRecipe:
    """Rounding to nearest, or GPTQ with blocks clipped where that loses least."""
    scheme = Scheme(
        weights="int4",
        activations="dynamic",
        granularity="blockwise",
        block_size=block,
        symmetric_weights=symmetric,
        weight_ranges="mse" if gptq else "min-max",
        rounding="gptq" if gptq else "nearest",
    )
    table = scheme.model_copy(update={"activations": "float32", "rounding": "nearest"})
    name = f"int4-b{block}" + ("" if symmetric else "-asymmetric") + ("-gptq" if gptq else "")
    rules = (
        Rule(operator="matrix-product", scheme=scheme),
        Rule(operator="embedding", scheme=table),
    )
    meaning = f"INT4 weights of matrix products and embeddings in blocks of {block}"
    if not symmetric:
        meaning += ", with zero points"
    if gptq:
        meaning += ", rounded by GPTQ (needs calibration)"
    return NamedRecipe(
        Recipe(name=name, format=None if symmetric else "onnx", rules=rules), meaning
    )


def _named(
    name: str, scheme: Scheme, meaning: str, operator: str = "*", for_format: Format | None = None
) -> tuple[str, NamedRecipe]:
    rule = Rule(operator=operator, scheme=scheme)
    return name, NamedRecipe(Recipe(name=name, format=for_format, rules=(rule,)), meaning)


#: In the order of the ladder.
RECIPES: dict[str, NamedRecipe] = dict(
    [
        _named("float16", _FLOAT16, "half precision, for CPUs that compute in it"),
        _named("int8-dynamic", _DYNAMIC, "INT8 weights, activations quantized at run time"),
        _named(
            "int8-dynamic-7bit", _DYNAMIC_7BIT, "the same for x86 without VNNI", for_format="onnx"
        ),
        _named("int8-u8s8", _U8S8, "static INT8 for x86 with VNNI", for_format="onnx"),
        _named("int8-u8s8-7bit", _U8S8_7BIT, "static INT8 for x86 without", for_format="onnx"),
        _named("int8-s8s8", _S8S8, "static INT8 for ARM, and for TFLite everywhere"),
        _named(
            "int8-u8s8-linear", _U8S8, "static INT8 of matrix products alone, x86 with VNNI",
            "matrix-product", "onnx",
        ),
        _named(
            "int8-u8s8-7bit-linear", _U8S8_7BIT,
            "static INT8 of matrix products alone, x86 without", "matrix-product", "onnx",
        ),
        _named(
            "int8-s8s8-linear", _S8S8, "static INT8 of matrix products alone, ARM and TFLite",
            "matrix-product",
        ),
        _named("int16", _S16S8, "INT16 activations, INT8 weights: for accelerators, slow on CPUs"),
        _named("int8-weights", _WEIGHTS, "INT8 weights, float arithmetic: a quarter of the size"),
        _named("int4", _INT4, "INT4 weights per channel, float arithmetic"),
        *(
            (named.recipe.name, named)
            for symmetric in (True, False)
            for gptq in (False, True)
            for block in BLOCKS
            for named in [_int4(block, gptq=gptq, symmetric=symmetric)]
        ),
    ]
)  # fmt: skip
