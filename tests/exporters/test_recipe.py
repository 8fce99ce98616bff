"""Recipes as data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import GOLDEN
from pydantic import ValidationError

from edgewright.errors import UsageError
from edgewright.exporters.quantize.recipe import (
    OPERATOR_CLASSES,
    ActivationType,
    Granularity,
    Precision,
    RangeMethod,
    RangeName,
    Recipe,
    Rounding,
    Rule,
    Scheme,
    WeightType,
    read_recipe,
)
from edgewright.targets.facts import CONVOLUTIONS, MATRIX_PRODUCTS

STATIC = Scheme(weights="int8", activations="int8")
DYNAMIC = Scheme(weights="int8", activations="dynamic")
INT4 = Scheme(weights="int4")
GPTQ = Scheme(weights="int4", rounding="gptq")
HALF = Scheme(weights="float16", activations="float16")
HALF_BLOCKS = ("float16", "blockwise")
STATIC_TYPES = ("int8", "uint8", "int16")


def recipe(*rules: Rule, **changes: Any) -> Recipe:
    return Recipe(**{"name": "r", "rules": rules, **changes})


range_methods = st.sampled_from(
    [RangeMethod(method=name) for name in get_args(RangeName)]
) | st.builds(RangeMethod, percentile=st.floats(50, 100, exclude_min=True))


@st.composite
def schemes(draw: st.DrawFn) -> Scheme:
    """Coherent schemes, with every field drawn."""
    weights = draw(st.sampled_from(get_args(WeightType)))
    activations: ActivationType = "float16"
    rounding: Rounding = "nearest"
    if weights != "float16":
        kinds = [kind for kind in get_args(ActivationType) if kind != "float16"]
        activations = draw(st.sampled_from(kinds))
        rounding = draw(st.sampled_from(get_args(Rounding)))
    grains = [grain for grain in get_args(Granularity) if (weights, grain) != HALF_BLOCKS]
    granularity = draw(st.sampled_from(grains))
    return Scheme(
        weights=weights,
        activations=activations,
        granularity=granularity,
        block_size=draw(st.sampled_from([32, 64, 128])) if granularity == "blockwise" else None,
        symmetric_weights=draw(st.booleans()),
        symmetric_activations=draw(st.booleans()),
        reduce_range=weights == "int8" and draw(st.booleans()),
        ranges=draw(range_methods) if activations in STATIC_TYPES else None,
        weight_ranges="min-max"
        if weights == "float16"
        else draw(st.sampled_from(["min-max", "mse"])),
        rounding=rounding,
        seed=draw(st.integers(0, 2**40)) if rounding == "stochastic" else 0,
    )


rules = st.builds(
    Rule,
    scope=st.sampled_from([".*", "^conv", "layer[0-9]+$", "(a|b)"]),
    operator=st.sampled_from(["*", "Conv", "FULLY_CONNECTED", *OPERATOR_CLASSES]),
    scheme=st.none() | schemes(),
)
recipes = st.builds(
    Recipe,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    format=st.sampled_from([None, "onnx", "tflite"]),
    rules=st.lists(rules, min_size=1, max_size=4)
    .filter(lambda found: any(rule.scheme for rule in found))
    .map(tuple),
    equalization=st.booleans(),
    bias_correction=st.booleans(),
)


@given(recipes)
def test_json_brings_the_same_recipe_back(original: Recipe) -> None:
    text = original.model_dump_json()
    back = Recipe.model_validate_json(text)
    assert back == original and hash(back) == hash(original)
    assert Recipe.model_validate(json.loads(text)) == original


@given(original=recipes)
def test_a_file_brings_the_same_recipe_back(
    original: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.json"
    path.write_text(original.model_dump_json(indent=2))
    assert read_recipe(path) == original


def test_the_format_of_the_file_is_stable() -> None:
    written = Recipe(
        name="int8-u8s8-7bit",
        format="onnx",
        rules=(
            Rule(scheme=Scheme(weights="int8", activations="uint8", reduce_range=True)),
            Rule(
                operator="matrix-product",
                scheme=Scheme(
                    weights="int4",
                    activations="dynamic",
                    granularity="blockwise",
                    block_size=32,
                    symmetric_weights=False,
                    weight_ranges="mse",
                    rounding="stochastic",
                    seed=7,
                ),
            ),
            Rule(
                scope="pool$",
                scheme=Scheme(
                    weights="int8",
                    activations="int16",
                    symmetric_activations=True,
                    ranges=RangeMethod(method="entropy"),
                ),
            ),
            Rule(scope="^head/", operator="Gemm", scheme=None),
        ),
        equalization=True,
        bias_correction=True,
    )
    golden = GOLDEN / "exporters_recipe.json"
    assert json.loads(written.model_dump_json()) == json.loads(golden.read_text())
    assert read_recipe(golden) == written


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


@given(
    recipes,
    st.sampled_from(["conv1", "layer12", "a", "other"]),
    st.sampled_from(["Conv", "MatMul", "FULLY_CONNECTED", "GATHER", "Relu"]),
)
def test_no_rule_after_the_one_that_decides_matches(
    found: Recipe, name: str, operator: str
) -> None:
    wanted = None
    for rule in reversed(found.rules):
        of_class = operator in OPERATOR_CLASSES.get(rule.operator, ())
        if (rule.operator in ("*", operator) or of_class) and re.search(rule.scope, name):
            wanted = rule.scheme
            break
    assert found.scheme_for(name, operator) == wanted


def test_what_no_rule_names_stays_float() -> None:
    found = recipe(Rule(operator="MatMul", scheme=DYNAMIC))
    assert found.scheme_for("any", "Gemm") is None
    assert found.scheme_for("any", "matmul") is None


@pytest.mark.parametrize(
    ("word", "members", "others"),
    [
        ("convolution", ["Conv", "ConvTranspose", "CONV_2D", "DEPTHWISE_CONV_2D"], ["MatMul"]),
        ("matrix-product", ["MatMul", "Gemm", "FULLY_CONNECTED", "BATCH_MATMUL"], ["Conv"]),
        ("embedding", ["Gather", "GATHER", "EMBEDDING_LOOKUP"], ["GatherND", "MatMul"]),
    ],
)
def test_a_class_names_the_operators_of_both_formats(
    word: str, members: list[str], others: list[str]
) -> None:
    found = recipe(Rule(operator=word, scheme=DYNAMIC))
    for operator in members:
        assert found.scheme_for("any", operator) == DYNAMIC
    for operator in (*others, word, "*", ""):
        assert found.scheme_for("any", operator) == (DYNAMIC if operator == word else None)
    assert not Rule(operator=members[0], scheme=None).names_operator(members[1])


def test_classes_are_those_that_models_are_counted_by() -> None:
    assert OPERATOR_CLASSES["convolution"] == CONVOLUTIONS
    assert OPERATOR_CLASSES["matrix-product"] == MATRIX_PRODUCTS
    members = list(OPERATOR_CLASSES.values())
    assert len(frozenset().union(*members)) == sum(map(len, members))


@pytest.mark.parametrize(
    ("values", "precision"),
    [
        ({"weights": "float16", "activations": "float16"}, "float16"),
        ({"weights": "int8", "activations": "dynamic"}, "int8-dynamic"),
        ({"weights": "uint8", "activations": "dynamic"}, "int8-dynamic"),
        ({"weights": "int8", "activations": "int8"}, "int8"),
        ({"weights": "int8", "activations": "uint8", "reduce_range": True}, "int8"),
        ({"weights": "int8", "activations": "int16"}, "int16"),
        ({"weights": "int8"}, "int8-weights"),
        ({"weights": "int4"}, "int4"),
        ({"weights": "int4", "activations": "dynamic"}, "int4"),
        ({"weights": "int4", "activations": "int8"}, "int4"),
        ({"weights": "int4", "activations": "int16"}, "int4"),
    ],
)
def test_the_precision_follows_from_the_scheme(values: dict[str, Any], precision: str) -> None:
    scheme = Scheme(**values)
    assert scheme.precision == precision
    assert recipe(Rule(scheme=scheme), Rule(scope="x", scheme=None)).precision == precision


def test_a_recipe_of_several_precisions_is_mixed() -> None:
    assert recipe(Rule(scheme=STATIC), Rule(scope="x", scheme=INT4)).precision == "mixed"
    narrow = STATIC.model_copy(update={"reduce_range": True})
    same = recipe(Rule(scheme=STATIC), Rule(scope="x", scheme=narrow))
    assert same.precision == "int8" and same.schemes == (STATIC, narrow)


@given(recipes)
def test_precisions_and_needs_are_those_of_the_schemes(found: Recipe) -> None:
    schemes = [rule.scheme for rule in found.rules if rule.scheme is not None]
    assert set(found.schemes) == set(schemes) and len(found.schemes) == len(set(schemes))
    precisions = {scheme.precision for scheme in schemes}
    assert found.precision in get_args(Precision) and found.precision != "float32"
    assert found.precision == (precisions.pop() if len(precisions) == 1 else "mixed")
    static = any(scheme.activations in STATIC_TYPES for scheme in schemes)
    gptq = any(scheme.rounding == "gptq" for scheme in schemes)
    assert found.needs_covariances == gptq
    assert found.needs_calibration == (
        static or gptq or found.bias_correction or found.equalization
    )
    for scheme in schemes:
        assert scheme.is_static == (scheme.ranges is not None)


def test_what_needs_calibration() -> None:
    assert recipe(Rule(scheme=STATIC)).needs_calibration
    assert recipe(Rule(scheme=GPTQ)).needs_calibration
    assert recipe(Rule(scheme=GPTQ)).needs_covariances
    assert not recipe(Rule(scheme=STATIC)).needs_covariances
    for scheme in (DYNAMIC, INT4, HALF):
        plain = recipe(Rule(scheme=scheme))
        assert not plain.needs_calibration and not plain.needs_covariances
        assert plain.model_copy(update={"bias_correction": True}).needs_calibration
        assert plain.model_copy(update={"equalization": True}).needs_calibration


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
        ({"weights": "int8", "ranges": RangeMethod()}, "ranges go with static activations"),
        (
            {"weights": "int8", "activations": "dynamic", "ranges": RangeMethod()},
            "ranges go with static activations",
        ),
        (
            {"weights": "int8", "activations": "int8", "ranges": None},
            "ranges go with static activations",
        ),
        (
            {"weights": "float16", "activations": "float16", "rounding": "gptq"},
            "rounding 'gptq' is for integer weights",
        ),
        (
            {
                "weights": "float16",
                "activations": "float16",
                "granularity": "blockwise",
                "block_size": 32,
            },
            "granularity 'blockwise' is for integer weights",
        ),
        (
            {"weights": "float16", "activations": "float16", "weight_ranges": "mse"},
            "weight_ranges 'mse' is for integer weights",
        ),
        ({"weights": "int4", "seed": 1}, "seed goes with rounding 'stochastic'"),
        ({"weights": "int4", "rounding": "gptq", "seed": 1}, "seed goes with rounding"),
        ({"weights": "int4", "rounding": "stochastic", "seed": -1}, "greater than or equal to 0"),
        ({"weights": "int4", "rounding": "up"}, "'nearest', 'stochastic' or 'gptq'"),
        ({"weights": "int4", "weight_ranges": "entropy"}, "'min-max' or 'mse'"),
        ({"weights": "int16"}, "weights"),
        ({"weights": "int8", "activations": "int4"}, "activations"),
        ({"activations": "int8"}, "Field required"),
        ({"weights": "int8", "grain": "per-tensor"}, "Extra inputs are not permitted"),
    ],
)
def test_incoherent_schemes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scheme(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"percentile": 50}, "greater than 50"),
        ({"percentile": 100.1}, "less than or equal to 100"),
        ({"percentile": float("nan")}, "finite number"),
        ({"percentile": None}, "percentile goes with method 'percentile'"),
        ({"method": "percentile", "percentile": None}, "percentile goes with method"),
        ({"method": "min-max", "percentile": 99.9}, "percentile goes with method"),
        ({"method": "kl"}, "'min-max', 'moving-average', 'percentile', 'mse' or 'entropy'"),
    ],
)
def test_incoherent_range_methods_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RangeMethod(**values)


def test_range_methods_fill_in_what_goes_with_them() -> None:
    assert RangeMethod() == RangeMethod(method="percentile", percentile=99.999)
    assert RangeMethod(method="percentile").percentile == 99.999
    assert RangeMethod(method="min-max").percentile is None
    assert RangeMethod().name == "p99.999" and RangeMethod(percentile=100).name == "p100"
    assert RangeMethod(percentile=99.99999).name == "p99.99999"
    assert RangeMethod(method="moving-average").name == "moving-average"


@pytest.mark.parametrize("activations", STATIC_TYPES)
def test_static_schemes_have_ranges_unless_told_otherwise(activations: Any) -> None:
    assert Scheme(weights="int8", activations=activations).ranges == RangeMethod()
    entropy = RangeMethod(method="entropy")
    assert Scheme(weights="int8", activations=activations, ranges=entropy).ranges == entropy
    assert DYNAMIC.ranges is None and INT4.ranges is None and HALF.ranges is None


def test_rules_are_checked() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        Rule(scope="(", scheme=None)
    with pytest.raises(ValidationError, match="at least 1 item"):
        recipe()
    with pytest.raises(ValidationError, match="every rule keeps its operators float"):
        recipe(Rule(scheme=None), Rule(operator="Conv", scheme=None))
    with pytest.raises(ValidationError, match="schema_version"):
        recipe(Rule(scheme=DYNAMIC), schema_version=1)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", ".hidden", "-r", "a\n", "a" * 101])
def test_names_are_fit_for_files(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        recipe(Rule(scheme=DYNAMIC), name=name)


SCHEME = {"weights": "int8"}


@pytest.mark.parametrize(
    ("document", "where", "message"),
    [
        ({"name": "r"}, ", rules", "Field required"),
        ({"name": "r", "rules": []}, ", rules", "at least 1 item"),
        ({"name": "r", "rules": {}}, ", rules", "valid tuple"),
        # Of a mistyped key, what is there is told before what is missing.
        ({"name": "r", "rulse": [{"scheme": SCHEME}]}, ", rulse", "Extra inputs"),
        ({"name": "r", "rules": [{"schema": SCHEME}]}, ", rules.0.schema", "Extra inputs"),
        ({"name": 1, "rules": [{"scheme": SCHEME}]}, ", name", "valid string"),
        ({"name": "r", "rules": [{"scheme": SCHEME}], "calibration": {}}, ", calibration", "Extra"),
        ({"name": "r", "rules": [{"scheme": SCHEME}, 3]}, ", rules.1", "valid dictionary"),
        ({"name": "r", "rules": [{"scope": ".*"}]}, ", rules.0.scheme", "Field required"),
        (
            {"name": "r", "rules": [{"scheme": {**SCHEME, "grain": 1}}]},
            ", rules.0.scheme.grain",
            "Extra inputs",
        ),
        (
            {"name": "r", "rules": [{"scheme": SCHEME}, {"scope": "(", "scheme": None}]},
            ", rules.1.scope",
            "not a regular expression: missing )",
        ),
        (
            {"name": "r", "rules": [{"scheme": {"weights": "int4", "block_size": 32}}]},
            ", rules.0.scheme",
            "block_size goes with granularity 'blockwise', and only with it",
        ),
        (
            {
                "name": "r",
                "rules": [
                    {"scheme": {**SCHEME, "activations": "int8", "ranges": {"method": "kl"}}}
                ],
            },
            ", rules.0.scheme.ranges.method",
            "Input should be 'min-max'",
        ),
        ({"name": "r", "rules": [{"scheme": None}]}, "", "every rule keeps its operators float"),
        (
            {"schema_version": 1, "name": "r", "rules": [{"scheme": SCHEME}]},
            ", schema_version",
            "Input should be 2",
        ),
        (["r"], "", "valid dictionary"),
        ("int8", "", "valid dictionary"),
        (None, "", "valid dictionary"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(
    tmp_path: Path, document: object, where: str, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert caught.value.message.startswith(f"recipe {path}{where}: ")
    assert message in caught.value.message and "Value error" not in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "`edgewright recipes schema` prints what a recipe is"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": No such file or directory"),
        (b"", " is not JSON: "),
        (b"{'name': 'r'}", " is not JSON: "),
        (b"\xff\xfe", " is not JSON: "),
        (b"[" * 200_000, " is nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert caught.value.message.startswith(f"recipe {path}{message}")


def test_a_directory_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"recipe {re.escape(str(tmp_path))}: Is a directory"):
        read_recipe(tmp_path)
