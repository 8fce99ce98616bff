"""Recipes as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import GOLDEN
from pydantic import ValidationError

from edgewright.exporters.quantize.recipe import Calibration, Recipe, Rule, Scheme

INT8 = Scheme(weights="int8", activations="int8")
DYNAMIC = Scheme(weights="int8", activations="dynamic")


def recipe(*rules: Rule, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "r", "format": "onnx", "precision": "int8-dynamic", "rules": rules
    }  # fmt: skip
    return Recipe(**{**values, **changes})


@st.composite
def schemes(draw: st.DrawFn) -> Scheme:
    weights = draw(st.sampled_from(["int8", "uint8", "int4", "float16"]))
    activations = (
        "float16"
        if weights == "float16"
        else draw(st.sampled_from(["float32", "dynamic", "int8", "uint8"]))
    )
    granularity = draw(st.sampled_from(["per-tensor", "per-channel", "blockwise"]))
    return Scheme(
        weights=weights,
        activations=activations,
        granularity=granularity,
        block_size=draw(st.sampled_from([32, 64, 128])) if granularity == "blockwise" else None,
        symmetric_activations=draw(st.booleans()),
        reduce_range=weights == "int8" and draw(st.booleans()),
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    rule = st.builds(
        Rule,
        scope=st.sampled_from([".*", "^conv", "layer[0-9]+$", "(a|b)"]),
        operator=st.sampled_from(["*", "Conv", "FULLY_CONNECTED"]),
        scheme=st.none() | schemes(),
    )
    rules = draw(st.lists(rule, min_size=1, max_size=4))
    calibration = st.just(Calibration(method="min-max")) | st.builds(
        Calibration, percentile=st.floats(50, 100, exclude_min=True)
    )
    is_static = any(r.scheme is not None and r.scheme.needs_calibration for r in rules)
    return Recipe(
        name=draw(st.text(min_size=1)),
        format=draw(st.sampled_from(["onnx", "tflite"])),
        precision=draw(st.sampled_from(["float16", "int8", "int8-dynamic", "int4"])),
        rules=tuple(rules),
        calibration=draw(calibration) if is_static else None,
    )


@given(recipes())
def test_json_brings_the_same_recipe_back(original: Recipe) -> None:
    text = original.model_dump_json()
    back = Recipe.model_validate_json(text)
    assert back == original and hash(back) == hash(original)
    assert Recipe.model_validate(json.loads(text)) == original


def test_the_format_of_the_file_is_stable() -> None:
    written = Recipe(
        name="int8-u8s8-7bit",
        format="onnx",
        precision="int8",
        rules=(
            Rule(scheme=Scheme(weights="int8", activations="uint8", reduce_range=True)),
            Rule(scope="^head/", operator="Gemm", scheme=None),
        ),
        calibration=Calibration(percentile=99.999),
    )
    golden = GOLDEN / "exporters_recipe.json"
    assert json.loads(written.model_dump_json()) == json.loads(golden.read_text())
    assert Recipe.model_validate_json(golden.read_text()) == written


def test_the_last_rule_that_matches_decides() -> None:
    found = recipe(
        Rule(scheme=DYNAMIC),
        Rule(operator="Conv", scheme=None),
        Rule(scope="^first", operator="Conv", scheme=DYNAMIC),
        Rule(scope="last$", scheme=None),
    )
    assert found.scheme_for("middle", "MatMul") == DYNAMIC
    assert found.scheme_for("middle", "Conv") is None
    assert found.scheme_for("first", "Conv") == DYNAMIC
    assert found.scheme_for("the first", "Conv") is None
    assert found.scheme_for("first/last", "Conv") is None
    assert found.scheme_for("first/last/2", "Conv") == DYNAMIC


def test_what_no_rule_names_stays_float() -> None:
    found = recipe(Rule(operator="MatMul", scheme=DYNAMIC))
    assert found.scheme_for("any", "Gemm") is None
    assert found.scheme_for("any", "matmul") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "int8", "granularity": "blockwise"}, "block_size goes with"),
        ({"weights": "int4", "block_size": 32}, "block_size goes with"),
        ({"weights": "int4", "granularity": "blockwise", "block_size": 48}, "32, 64 or 128"),
        ({"weights": "float16"}, "float16 is for weights and activations together"),
        ({"weights": "int8", "activations": "float16"}, "float16 is for weights and activations"),
        ({"weights": "int4", "reduce_range": True}, "reduce_range is for int8 weights"),
        ({"weights": "uint8", "reduce_range": True}, "reduce_range is for int8 weights"),
        ({"weights": "int16"}, "weights"),
        ({"weights": "int8", "grain": "per-tensor"}, "Extra inputs are not permitted"),
    ],
)
def test_incoherent_schemes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scheme(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"percentile": 50},
        {"percentile": 100.1},
        {"percentile": None},
        {"method": "percentile", "percentile": None},
        {"method": "min-max", "percentile": 99.9},
        {"method": "entropy"},
    ],
)
def test_incoherent_calibrations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calibration(**values)


def test_calibrations_fill_in_what_goes_with_their_method() -> None:
    assert Calibration() == Calibration(method="percentile", percentile=99.99)
    assert Calibration(method="min-max").percentile is None


def test_a_recipe_states_calibration_exactly_where_it_is_needed() -> None:
    with pytest.raises(ValidationError, match="calibration goes with rules whose activations"):
        recipe(Rule(scheme=INT8))
    with pytest.raises(ValidationError, match="calibration goes with rules whose activations"):
        recipe(Rule(scheme=DYNAMIC), calibration=Calibration())
    assert recipe(Rule(scheme=INT8), calibration=Calibration()).needs_calibration
    assert not recipe(Rule(scheme=DYNAMIC)).needs_calibration


def test_rules_are_checked() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        Rule(scope="(", scheme=None)
    with pytest.raises(ValidationError, match="at least 1 item"):
        recipe()
    with pytest.raises(ValidationError):
        recipe(Rule(scheme=DYNAMIC), schema_version=2)
