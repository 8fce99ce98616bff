"""Which recipes a device and a model make worth trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import DENSE_TFLITE, TINY_TFLITE, conv_net, matmul_net, profile

from edgewright.errors import UsageError
from edgewright.exporters.quantize.plan import (
    MEMORY_BOUND_BYTES,
    RANGE_METHODS,
    PlannedRecipe,
    plan,
    preference,
    recipe_for,
    with_float,
    with_ranges,
)
from edgewright.exporters.quantize.recipe import (
    Precision,
    RangeMethod,
    RangeName,
    Recipe,
    Rule,
    Scheme,
)
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.targets.abilities import saturates_u8s8
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.profile import TargetProfile

#: Rungs in the order of climbing: the precision and what is done with its recipe.
LADDER = (
    ("float16", "apply"),
    ("int8-dynamic", "apply"),
    ("int8", "apply"),
    ("int8", "correct"),
    ("int8", "search"),
    ("int4", "apply"),
)
MODELS = ("conv.onnx", "matmul.onnx", "conv.tflite", "matmul.tflite")

STATIC = Scheme(weights="int8", activations="int8")

VNNI = profile("avx2", "fma", "avx512f", "avx512_vnni")
AVX_VNNI = profile("avx2", "avx_vnni")
AVX2 = profile("avx2", "fma")
DEVICES: dict[str, Callable[[], TargetProfile]] = {
    "vnni": lambda: VNNI,
    "avx-vnni": lambda: AVX_VNNI,
    "avx2": lambda: AVX2,
    "armv7": lambda: profile("neon", architecture="armv7l"),
    "raspberry-pi-4": cache(lambda: load_target("raspberry-pi-4")),
    "raspberry-pi-5": cache(lambda: load_target("raspberry-pi-5")),
    "raspberry-pi-zero-2-w": cache(lambda: load_target("raspberry-pi-zero-2-w")),
    "galaxy-a54": cache(lambda: load_target("galaxy-a54")),
    "galaxy-s25": cache(lambda: load_target("galaxy-s25")),
    "pixel-9": cache(lambda: load_target("pixel-9")),
    "jetson-orin-nano": cache(lambda: load_target("jetson-orin-nano")),
    "coral-dev-board": cache(lambda: load_target("coral-dev-board")),
}
NO_FP16 = {"vnni", "avx-vnni", "avx2", "armv7"} | {
    "raspberry-pi-4", "raspberry-pi-zero-2-w", "coral-dev-board"
}  # fmt: skip
X86 = {"vnni", "avx-vnni", "avx2"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFacts]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "conv.onnx": inspect_model(conv_net(folder / "conv.onnx")),
        "matmul.onnx": inspect_model(matmul_net(folder / "matmul.onnx")),
        "conv.tflite": inspect_model(TINY_TFLITE),
        "matmul.tflite": inspect_model(DENSE_TFLITE),
    }


def planned(facts: ModelFacts, device: str, calibrated: bool = True) -> dict[str, PlannedRecipe]:
    """The rungs that apply a recipe as it is, by precision."""
    found = plan(DEVICES[device](), facts, has_calibration=calibrated)
    assert all(entry.reason and "\n" not in entry.reason for entry in found)
    for entry in found:
        if entry.recipe is not None:
            assert entry.recipe.precision == entry.precision
            assert entry.recipe.format in (None, facts.format)
            assert calibrated or not entry.recipe.needs_calibration
    applied: dict[str, PlannedRecipe] = {
        entry.precision: entry for entry in found if entry.step == "apply"
    }
    assert tuple(applied) == ("float16", "int8-dynamic", "int8", "int4")
    return applied


def names(entries: dict[str, PlannedRecipe]) -> list[str]:
    return [entry.recipe.name for entry in entries.values() if entry.recipe is not None]


@pytest.mark.parametrize("device", DEVICES)
def test_convolutions_in_onnx(models: dict[str, ModelFacts], device: str) -> None:
    static = {"vnni": "int8-u8s8", "avx-vnni": "int8-u8s8", "avx2": "int8-u8s8-7bit"}
    half = [] if device in NO_FP16 else ["float16"]
    entries = planned(models["conv.onnx"], device)
    assert names(entries) == [*half, static.get(device, "int8-s8s8")]
    assert "slows convolutions down" in entries["int8-dynamic"].reason
    assert "convolutions" in entries["int4"].reason


@pytest.mark.parametrize("device", DEVICES)
def test_matrix_products_in_onnx(models: dict[str, ModelFacts], device: str) -> None:
    narrow = "-7bit" if device == "avx2" else ""
    static = "u8s8" if device in X86 else "s8s8"
    half = [] if device in NO_FP16 else ["float16"]
    entries = planned(models["matmul.onnx"], device)
    assert names(entries) == [*half, f"int8-dynamic{narrow}", f"int8-{static}{narrow}-linear"]
    assert "reading 100 MB or more" in entries["int4"].reason
    int8 = entries["int8"].recipe
    assert int8 is not None
    for operator in ("MatMul", "Gemm"):
        assert int8.scheme_for("any", operator) == Scheme(
            weights="int8",
            activations="uint8" if device in X86 else "int8",
            reduce_range=device == "avx2",
        )
    assert int8.scheme_for("any", "Softmax") is None and int8.scheme_for("any", "Conv") is None


@pytest.mark.parametrize("device", DEVICES)
def test_tflite_is_signed_and_never_narrowed(models: dict[str, ModelFacts], device: str) -> None:
    half = [] if device in NO_FP16 else ["float16"]
    assert names(planned(models["conv.tflite"], device)) == [*half, "int8-s8s8"]
    entries = planned(models["matmul.tflite"], device)
    assert names(entries) == [*half, "int8-dynamic", "int8-s8s8-linear"]
    int8 = entries["int8"].recipe
    assert int8 is not None
    assert int8.scheme_for("any", "FULLY_CONNECTED") == STATIC
    assert int8.scheme_for("any", "SOFTMAX") is None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
def test_the_ladder_climbs_from_cheap_to_dear(
    models: dict[str, ModelFacts], model: str, device: str
) -> None:
    found = plan(DEVICES[device](), models[model], has_calibration=True)
    assert tuple((entry.precision, entry.step) for entry in found) == LADDER
    static, correct, search = found[2:5]
    # All three are about the recipe that suits the device, and the first compares ranges.
    assert static.recipe == correct.recipe == search.recipe
    assert static.recipe is not None and static.ranges == RANGE_METHODS
    assert all(entry.ranges == () for entry in found if entry is not static)
    for entry in (correct, search):
        assert entry.reason.startswith("if no INT8 is proven: ")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
def test_without_calibration_data_static_int8_is_left_out_with_its_reason(
    models: dict[str, ModelFacts], model: str, device: str
) -> None:
    found = plan(DEVICES[device](), models[model], has_calibration=False)
    assert tuple((entry.precision, entry.step) for entry in found) == (*LADDER[:3], LADDER[5])
    assert found[2].recipe is None and found[2].reason == "static INT8 needs calibration data"
    planned(models[model], device, calibrated=False)


def test_the_ranges_compared_are_every_method_once() -> None:
    assert len({ranges.name for ranges in RANGE_METHODS}) == len(RANGE_METHODS)
    assert {ranges.method for ranges in RANGE_METHODS} == set(get_args(RangeName))


def test_the_reasons_name_what_the_cpu_has(models: dict[str, ModelFacts]) -> None:
    def why(device: str, precision: str, model: str = "conv.onnx") -> str:
        return planned(models[model], device)[precision].reason

    assert "VNNI (2.2x" in why("vnni", "int8")
    assert "no VNNI and 8 bits would saturate" in why("avx2", "int8")
    assert "dot-product instructions" in why("raspberry-pi-5", "int8")
    assert "no dot product" in why("raspberry-pi-4", "int8")
    assert "XNNPACK" in why("raspberry-pi-4", "int8", "conv.tflite")
    assert "without VNNI no faster" in why("avx2", "int8", "conv.tflite")
    assert why("raspberry-pi-4", "float16").startswith("Cortex-A72 has no FP16 arithmetic")
    assert why("coral-dev-board", "float16").startswith("Cortex-A53 has no FP16 arithmetic")
    assert why("pixel-9", "float16") == "the CPU computes in FP16"


def test_a_feature_counts_where_every_cluster_has_it(models: dict[str, ModelFacts]) -> None:
    pi5 = DEVICES["raspberry-pi-5"]()
    big = pi5.cpu.clusters[0]
    little = big.model_copy(update={"core": "Cortex-A53", "features": ("neon", "asimd")})
    mixed = pi5.model_copy(update={"cpu": pi5.cpu.model_copy(update={"clusters": (big, little)})})
    found = plan(mixed, models["conv.onnx"], has_calibration=True)
    assert found[0].recipe is None and "Cortex-A53 has no FP16" in found[0].reason
    assert "no dot product" in found[2].reason


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("model", ["matmul.onnx", "matmul.tflite"])
def test_int4_is_for_weights_that_no_cache_holds(
    models: dict[str, ModelFacts], model: str, calibrated: bool
) -> None:
    def int4(weight_bytes: int) -> PlannedRecipe:
        facts = replace(models[model], weight_bytes=weight_bytes)
        return planned(facts, "raspberry-pi-5", calibrated)["int4"]

    below, at = int4(MEMORY_BOUND_BYTES - 1), int4(MEMORY_BOUND_BYTES)
    assert below.recipe is None and at.recipe is not None
    # GPTQ rounds better than to the nearest, and takes calibration.
    # ONNX Runtime's blocks have zero points, TFLite's have none.
    in_onnx = model == "matmul.onnx"
    assert at.recipe.name == (
        "int4-b32" + ("-asymmetric" if in_onnx else "") + ("-gptq" if calibrated else "")
    )
    assert at.recipe.needs_calibration == calibrated
    operator = "MatMul" if in_onnx else "FULLY_CONNECTED"
    assert at.recipe.scheme_for("any", operator) == Scheme(
        weights="int4",
        activations="dynamic",
        granularity="blockwise",
        block_size=32,
        symmetric_weights=not in_onnx,
        weight_ranges="mse" if calibrated else "min-max",
        rounding="gptq" if calibrated else "nearest",
    )


@pytest.mark.parametrize("model", ["conv.onnx", "conv.tflite"])
def test_int4_is_never_for_convolutions(models: dict[str, ModelFacts], model: str) -> None:
    large = replace(models[model], weight_bytes=10 * MEMORY_BOUND_BYTES)
    assert planned(large, "raspberry-pi-5")["int4"].recipe is None


def test_saturation_is_x86_without_vnni() -> None:
    assert {name for name, make in DEVICES.items() if saturates_u8s8(make())} == {"avx2"}


@pytest.mark.parametrize(
    "precision", ["float16", "int8", "int8-dynamic", "int16", "int8-weights", "int4"]
)
@pytest.mark.parametrize("model", MODELS)
def test_a_precision_asked_for_by_name_has_a_recipe(
    models: dict[str, ModelFacts], model: str, precision: Precision
) -> None:
    for device, make in DEVICES.items():
        recipe = recipe_for(precision, make(), models[model])
        assert recipe.precision == precision and recipe.format in (None, models[model].format)
        assert recipe.needs_calibration == (precision in ("int8", "int16"))
        assert RECIPES[recipe.name].recipe == recipe
        narrowed = any(scheme.reduce_range for scheme in recipe.schemes)
        assert narrowed == (
            device == "avx2" and model.endswith("onnx") and precision in ("int8", "int8-dynamic")
        )


def test_int4_of_convolutions_by_name(models: dict[str, ModelFacts]) -> None:
    found = {model: recipe_for("int4", VNNI, facts).name for model, facts in models.items()}
    # TFLite's convolutions hold INT4 per channel; ONNX Runtime has INT4 in matrix products alone.
    assert found == dict.fromkeys(MODELS, "int4-b32") | {"conv.tflite": "int4"}


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_plan_and_the_name_agree_on_the_recipe(
    models: dict[str, ModelFacts], calibrated: bool
) -> None:
    for facts in models.values():
        for make in DEVICES.values():
            for entry in plan(make(), facts, has_calibration=calibrated):
                if entry.recipe is not None:
                    assert recipe_for(entry.precision, make(), facts) == entry.recipe
    # The one that differs is INT4, which the plan gives zero points in ONNX, and rounds by GPTQ
    # where there is calibration.
    for model in ("matmul.onnx", "matmul.tflite"):
        large = replace(models[model], weight_bytes=MEMORY_BOUND_BYTES)
        planned_int4 = planned(large, "vnni", calibrated)["int4"].recipe
        assert planned_int4 is not None
        same = not calibrated and model == "matmul.tflite"
        assert (planned_int4 == recipe_for("int4", VNNI, large)) == same


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_some_precisions_have_no_one_recipe(
    models: dict[str, ModelFacts], precision: Precision
) -> None:
    with pytest.raises(UsageError, match=f"no one recipe stands for {precision}") as caught:
        recipe_for(precision, VNNI, models["conv.onnx"])
    assert caught.value.hint is not None and "--recipe" in caught.value.hint


def test_preference_ranks_every_precision(models: dict[str, ModelFacts]) -> None:
    for facts in models.values():
        assert sorted(preference(facts)) == sorted(get_args(Precision))
    assert preference(models["conv.onnx"])[0] == "int8"
    assert preference(models["matmul.tflite"])[0] == "int8-dynamic"
    convolutional = preference(models["conv.tflite"])
    assert convolutional.index("float32") < convolutional.index("int8-dynamic")


def test_operators_without_products_are_not_convolutional(tmp_path: Path) -> None:
    facts = replace(inspect_model(matmul_net(tmp_path / "m.onnx")), operators=())
    assert preference(facts)[0] == "int8-dynamic"


names_of_layers = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


@given(
    st.sampled_from(sorted(RECIPES)),
    st.lists(names_of_layers | st.sampled_from(["a.b", "a+b", "(x", "[0]", "^", "$"]), max_size=5),
    names_of_layers | st.sampled_from(["aXb", "aab", "x", "0", "a"]),
    st.sampled_from(["MatMul", "Conv", "FULLY_CONNECTED", "Gather"]),
)
def test_layers_kept_float_are_just_those_named(
    name: str, layers: list[str], other: str, operator: str
) -> None:
    recipe = RECIPES[name].recipe
    changed = with_float(recipe, layers)
    assert Recipe.model_validate(changed.model_dump()) == changed
    for layer in layers:
        assert changed.scheme_for(layer, operator) is None
    if other not in layers:
        assert changed.scheme_for(other, operator) == recipe.scheme_for(other, operator)
    # A name that only contains another's is another layer.
    for near in (other + "/more", "more/" + other, other + "\n"):
        kept = with_float(recipe, [other])
        assert kept.scheme_for(near, operator) == recipe.scheme_for(near, operator)
    assert changed.precision == recipe.precision and changed.name == recipe.name


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("ranges", RANGE_METHODS, ids=lambda ranges: ranges.name)
def test_other_ranges_change_static_activations_alone(name: str, ranges: RangeMethod) -> None:
    recipe = RECIPES[name].recipe
    changed = with_ranges(recipe, ranges)
    assert Recipe.model_validate(changed.model_dump()) == changed
    for before, after in zip(recipe.rules, changed.rules, strict=True):
        assert before.scheme is not None and after.scheme is not None
        wanted = ranges if before.scheme.is_static else None
        assert after.scheme.ranges == wanted
        assert after.model_copy(update={"scheme": before.scheme}) == before
        own = {"ranges": before.scheme.ranges}
        assert after.scheme.model_copy(update=own) == before.scheme
    own_ranges = next((s.ranges for s in recipe.schemes if s.ranges is not None), RangeMethod())
    assert with_ranges(changed, own_ranges) == recipe


def test_other_ranges_leave_float_rules_as_they_are() -> None:
    entropy = RangeMethod(method="entropy")
    recipe = Recipe(name="r", rules=(Rule(scheme=STATIC), Rule(scope="^head", scheme=None)))
    changed = with_ranges(recipe, entropy)
    assert changed.rules[1] == recipe.rules[1]
    found = changed.scheme_for("body", "Conv")
    assert found is not None and found.ranges == entropy
    assert with_float(changed, ["body"]).scheme_for("body", "Conv") is None


def test_an_accelerator_of_integers_gets_full_integer_int8_alone(
    models: dict[str, ModelFacts],
) -> None:
    coral = load_target("coral-dev-board")
    (edge_tpu,) = coral.accelerators
    for name in ("conv.tflite", "matmul.tflite"):
        found = plan(coral, models[name], has_calibration=True, accelerator=edge_tpu)
        recipes = [(step.recipe.name, step.step) for step in found if step.recipe]
        assert recipes == [("int8-s8s8", "apply"), ("int8-s8s8", "correct")]
        why = "the Google Edge TPU (4 TOPS) computes in integers only"
        assert {step.reason for step in found if step.step == "apply"} == {why}
        assert {s.precision for s in found if not s.recipe} == {"float16", "int8-dynamic", "int4"}
        assert recipe_for("int8", coral, models[name], edge_tpu).name == "int8-s8s8"
        without = plan(coral, models[name], has_calibration=False, accelerator=edge_tpu)
        assert all(step.recipe is None for step in without)
