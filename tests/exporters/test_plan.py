"""Which recipes a device and a model make worth trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from models import DENSE_TFLITE, TINY_TFLITE, conv_net, matmul_net, profile

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Precision
from edgewright.exporters.quantize.plan import (
    MEMORY_BOUND_BYTES,
    PlannedRecipe,
    plan,
    preference,
    recipe_for,
    saturates,
)
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target
from edgewright.targets.profile import TargetProfile

LADDER = ("float16", "int8-dynamic", "int8", "int4")

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
    found = plan(DEVICES[device](), facts, has_calibration=calibrated)
    assert tuple(entry.precision for entry in found) == LADDER
    assert all(entry.reason for entry in found)
    for entry in found:
        if entry.recipe is not None:
            assert entry.recipe.precision == entry.precision
            assert entry.recipe.format == facts.format
    return {entry.precision: entry for entry in found}


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
    assert int8 is not None and {rule.operator for rule in int8.rules} == {"MatMul", "Gemm"}


@pytest.mark.parametrize("device", DEVICES)
def test_tflite_is_signed_and_never_narrowed(models: dict[str, ModelFacts], device: str) -> None:
    half = [] if device in NO_FP16 else ["float16"]
    assert names(planned(models["conv.tflite"], device)) == [*half, "int8-s8s8"]
    entries = planned(models["matmul.tflite"], device)
    assert names(entries) == [*half, "int8-dynamic", "int8-s8s8-linear"]
    int8 = entries["int8"].recipe
    assert int8 is not None
    assert [rule.operator for rule in int8.rules] == ["FULLY_CONNECTED"]


@pytest.mark.parametrize("model", ["conv.onnx", "matmul.onnx", "conv.tflite", "matmul.tflite"])
def test_without_calibration_data_static_int8_is_left_out_with_its_reason(
    models: dict[str, ModelFacts], model: str
) -> None:
    entry = planned(models[model], "raspberry-pi-5", calibrated=False)["int8"]
    assert entry.recipe is None and entry.reason == "static INT8 needs calibration data"


def test_the_reasons_name_what_the_cpu_has(models: dict[str, ModelFacts]) -> None:
    def why(device: str, precision: str) -> str:
        return planned(models["conv.onnx"], device)[precision].reason

    assert "VNNI (1.8x" in why("vnni", "int8")
    assert "no VNNI and 8 bits would saturate" in why("avx2", "int8")
    assert "dot-product instructions" in why("raspberry-pi-5", "int8")
    assert "no dot product" in why("raspberry-pi-4", "int8")
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


@pytest.mark.parametrize("model", ["matmul.onnx", "matmul.tflite"])
def test_int4_is_for_weights_that_no_cache_holds(models: dict[str, ModelFacts], model: str) -> None:
    def int4(weight_bytes: int) -> PlannedRecipe:
        return planned(replace(models[model], weight_bytes=weight_bytes), "raspberry-pi-5")["int4"]

    below, at = int4(MEMORY_BOUND_BYTES - 1), int4(MEMORY_BOUND_BYTES)
    assert below.recipe is None and at.recipe is not None
    assert at.recipe.name == "int4-b32"
    (rule,) = at.recipe.rules
    activations = "float32" if model == "matmul.onnx" else "dynamic"
    assert rule.scheme == Scheme(
        weights="int4", activations=activations, granularity="blockwise", block_size=32
    )
    assert rule.operator == ("MatMul" if model == "matmul.onnx" else "FULLY_CONNECTED")


def test_int4_is_never_for_convolutions(models: dict[str, ModelFacts]) -> None:
    large = replace(models["conv.onnx"], weight_bytes=10 * MEMORY_BOUND_BYTES)
    assert planned(large, "raspberry-pi-5")["int4"].recipe is None


def test_saturation_is_x86_without_vnni() -> None:
    assert {name for name, make in DEVICES.items() if saturates(make())} == {"avx2"}


@pytest.mark.parametrize("precision", ["float16", "int8", "int8-dynamic", "int4"])
@pytest.mark.parametrize("model", ["conv.onnx", "matmul.onnx", "conv.tflite", "matmul.tflite"])
def test_a_precision_asked_for_by_name_has_a_recipe(
    models: dict[str, ModelFacts], model: str, precision: Precision
) -> None:
    recipe = recipe_for(precision, VNNI, models[model])
    assert recipe.precision == precision and recipe.format == models[model].format
    assert recipe.needs_calibration == (precision == "int8")


def test_the_plan_and_the_name_agree_on_the_recipe(models: dict[str, ModelFacts]) -> None:
    for facts in models.values():
        for make in DEVICES.values():
            for entry in plan(make(), facts, has_calibration=True):
                if entry.recipe is not None:
                    assert recipe_for(entry.precision, make(), facts) == entry.recipe


def test_weight_only_int8_is_for_tflite(models: dict[str, ModelFacts]) -> None:
    recipe = recipe_for("int8-weights", VNNI, models["conv.tflite"])
    assert [rule.scheme for rule in recipe.rules] == [Scheme(weights="int8")]
    with pytest.raises(UsageError, match="no weight-only INT8") as caught:
        recipe_for("int8-weights", VNNI, models["conv.onnx"])
    assert caught.value.hint is not None and "int8-dynamic" in caught.value.hint


def test_float32_is_no_recipe(models: dict[str, ModelFacts]) -> None:
    with pytest.raises(UsageError, match="float32 is not quantized"):
        recipe_for("float32", VNNI, models["conv.onnx"])


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
