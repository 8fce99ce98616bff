"""Recipes by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.recipes import RECIPES, find_recipe

PRECISIONS = {
    "float16": "float16",
    "int8-dynamic": "int8-dynamic",
    "int8-dynamic-7bit": "int8-dynamic",
    "int8-u8s8": "int8",
    "int8-u8s8-7bit": "int8",
    "int8-s8s8": "int8",
    "int8-u8s8-linear": "int8",
    "int8-u8s8-7bit-linear": "int8",
    "int8-s8s8-linear": "int8",
    "int16": "int16",
    "int8-weights": "int8-weights",
    "int4": "int4",
    "int4-b32": "int4",
    "int4-b64": "int4",
    "int4-b128": "int4",
    "int4-b32-gptq": "int4",
    "int4-b64-gptq": "int4",
    "int4-b128-gptq": "int4",
    "int4-b32-asymmetric": "int4",
    "int4-b64-asymmetric": "int4",
    "int4-b128-asymmetric": "int4",
    "int4-b32-asymmetric-gptq": "int4",
    "int4-b64-asymmetric-gptq": "int4",
    "int4-b128-asymmetric-gptq": "int4",
}


def test_the_names_and_their_precisions() -> None:
    assert {name: named.recipe.precision for name, named in RECIPES.items()} == PRECISIONS


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_is_whole(name: str) -> None:
    named = RECIPES[name]
    assert named.recipe.name == name and find_recipe(name) == named.recipe
    assert Recipe.model_validate_json(named.recipe.model_dump_json()) == named.recipe
    assert named.meaning and "\n" not in named.meaning
    assert not named.recipe.bias_correction and not named.recipe.equalization


def test_names_say_what_the_schemes_are() -> None:
    for name, named in RECIPES.items():
        for scheme in named.recipe.schemes:
            assert (scheme.activations == "uint8") == ("u8s8" in name)
            assert scheme.reduce_range == ("7bit" in name)
            assert scheme.symmetric_weights == ("asymmetric" not in name) and scheme.seed == 0
            assert scheme.weight_ranges == ("mse" if "gptq" in name else "min-max")
        assert named.recipe.needs_covariances == ("gptq" in name)
        operators = {rule.operator for rule in named.recipe.rules}
        if "linear" in name:
            assert operators == {"matrix-product"}
        elif "-b" in name:
            assert operators == {"matrix-product", "embedding"}
        else:
            assert operators == {"*"}
    calibrated = {name for name, named in RECIPES.items() if named.recipe.needs_calibration}
    assert calibrated == {
        name for name in PRECISIONS if "s8s8" in name or "u8s8" in name or "gptq" in name
    } | {"int16"}


def test_what_tflite_does_not_have_is_for_onnx() -> None:
    for name, named in RECIPES.items():
        only = "u8s8" in name or "7bit" in name or "asymmetric" in name
        assert named.recipe.format == ("onnx" if only else None)


@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("suffix", ["", "-gptq", "-asymmetric", "-asymmetric-gptq"])
def test_blocks_of_int4_in_products_and_tables(block: int, suffix: str) -> None:
    recipe = find_recipe(f"int4-b{block}{suffix}")
    product = recipe.scheme_for("any", "MatMul")
    assert product == recipe.scheme_for("any", "FULLY_CONNECTED")
    table = recipe.scheme_for("any", "Gather")
    assert product is not None and table is not None
    assert (product.activations, table.activations) == ("dynamic", "float32")
    assert (product.rounding, table.rounding) == (
        "gptq" if "gptq" in suffix else "nearest", "nearest",
    )  # fmt: skip
    for scheme in (product, table):
        assert (scheme.weights, scheme.granularity, scheme.block_size) == (
            "int4", "blockwise", block,
        )  # fmt: skip
    assert recipe.scheme_for("any", "Conv") is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("int8-u8s9", "int8-u8s8"),
        ("float-16", "float16"),
        ("int4-b23", "int4-b32"),
        ("int8_dynamic", "int8-dynamic"),
    ],
)
def test_an_unknown_name_is_told_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no recipe '{name}'") as caught:
        find_recipe(name)
    hint = caught.value.hint
    assert hint is not None and hint.startswith("did you mean ") and near in hint
    assert "`edgewright recipes list`" in hint and ".json" in hint


def test_a_name_like_none_is_told_where_they_are() -> None:
    with pytest.raises(UsageError, match="no recipe 'xyz'") as caught:
        find_recipe("xyz")
    hint = caught.value.hint
    assert hint is not None and hint.startswith("`edgewright recipes list`")


def test_a_file_is_read(tmp_path: Path) -> None:
    mine = Recipe(name="mine", rules=(Rule(scheme=Scheme(weights="int4")),))
    path = tmp_path / "mine.json"
    path.write_text(mine.model_dump_json())
    assert find_recipe(str(path)) == mine
    # A file's name ends in .json: without it, a path is a name like any other.
    with pytest.raises(UsageError, match=r"no recipe '.*mine'"):
        find_recipe(str(path.with_suffix("")))
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"mine\.json, name: Field required"):
        find_recipe(str(path))
    with pytest.raises(UsageError, match=r"gone\.json: No such file"):
        find_recipe(str(tmp_path / "gone.json"))
