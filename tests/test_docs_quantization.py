"""What docs/quantization.md shows is what the code takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from edgewright.exporters.quantize.apply import refuse_unfit
from edgewright.exporters.quantize.recipe import RangeName, Recipe, read_recipe
from edgewright.exporters.quantize.recipes import RECIPES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "quantization.md").read_text(encoding="utf-8")


def test_the_recipe_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "mine.json").write_text(block)
    recipe = read_recipe(tmp_path / "mine.json")
    assert recipe.name == "mine" and recipe.bias_correction
    refuse_unfit(recipe, "onnx")
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe


def test_recipes_and_methods_that_are_named_are_there() -> None:
    for name in re.findall(r"recipes show ([\w.-]+)", TEXT):
        assert name in RECIPES
    for method in get_args(RangeName):
        assert f"`{method}`" in TEXT
