"""What `analyze` suggests, on layers made for it and on a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import FASHION, FASHION_SCALE, TINY_TFLITE, fashion_part, matmul_net, normal, save_onnx
from onnx import helper
from quantizing import PER_TENSOR, Ready, spoilt_net

from edgewright.errors import UsageError
from edgewright.exporters.analysis import run_analysis
from edgewright.exporters.quantize.analyze import _suggestions, analyze
from edgewright.exporters.quantize.apply import quantize
from edgewright.exporters.quantize.recipe import Recipe
from edgewright.exporters.quantize.recipes import RECIPES, find_recipe
from edgewright.exporters.quantize.screen import Screened
from edgewright.exporters.quantize.sensitivity import Sensitivity, WeightDistribution
from edgewright.exporters.request import DataOptions, ExportRequest
from edgewright.exporters.source import parse_source
from edgewright.targets.load import load_target

STATIC = RECIPES["int8-u8s8"].recipe
INT4 = RECIPES["int4-b32"].recipe


def layer(
    name: str = "one", *, kurtosis: float = 3.0, outliers: int = 0, weights_db: float = 40.0,
    activations_db: float | None = 40.0, effect_db: float | None = None, cost: float | None = None,
) -> Sensitivity:  # fmt: skip
    spread = WeightDistribution(-1, 1, kurtosis, 8, outliers)
    screened = Screened(weights_db, activations_db)
    return Sensitivity(name, "Conv", spread, screened, effect_db, cost)


def suggested(recipe: Recipe, level: float, *layers: Sensitivity) -> str:
    worth = [each for each in layers if each.effect_db is not None and each.effect_db >= 0.5]
    return "\n".join(_suggestions(recipe, level, layers, worth))


def test_each_suggestion_has_its_reason() -> None:
    assert "keeps 25.0 dB of SQNR: prove its accuracy" in suggested(STATIC, 25.0, layer())
    told = suggested(STATIC, 12.0, layer("stem", effect_db=3.21, cost=1.5))
    assert "keep stem (Conv) in float: +3.2 dB for +50% time on this machine" in told
    assert "outlier" not in suggested(STATIC, 12.0, layer(outliers=2))  # per channel already
    told = suggested(PER_TENSOR, 12.0, layer("stem", outliers=2))
    assert told == "weights of stem have outlier channels: quantize per channel"
    assert "heavy-tailed" not in suggested(STATIC, 12.0, layer(kurtosis=30))
    assert "weights of one are heavy-tailed" in suggested(INT4, 12.0, layer(kurtosis=30))
    told = suggested(STATIC, 12.0, *(layer(f"l{n}", activations_db=30) for n in range(5)))
    assert "inputs, not weights, cost most in l0, l1, l2 and 2 more" in told
    assert "no single layer stands out" in suggested(STATIC, 12.0, layer())


def test_the_suggested_recipe_keeps_what_is_worth_it(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 4, [2]), tmp_path)
    whole = quantize(
        ready.model, PER_TENSOR, ready.statistics, (ready.samples, ""), tmp_path / "whole.onnx"
    )
    found = analyze(ready.model, whole, ready.statistics, (ready.samples, "rows"), worst=4)
    assert found.recipe == PER_TENSOR
    assert found.model_db == pytest.approx(whole.differences[0].sqnr_db)
    assert [rule.scope for rule in found.suggested.rules[1:]] == [r"^layer2\Z"]
    assert any(line.startswith("keep layer2 (MatMul) in float: +") for line in found.suggestions)
    assert any("layer2 have outlier channels" in line for line in found.suggestions)
    # And it does what it promises.
    better = quantize(
        ready.model, found.suggested, ready.statistics, (ready.samples, ""), tmp_path / "b.onnx"
    )
    assert (better.differences[0].sqnr_db or 0) > found.model_db + 20


# The whole way


def request(source: Path, target: str = "raspberry-pi-5", **changes: object) -> ExportRequest:
    data = DataOptions(**changes)  # type: ignore[arg-type]
    return ExportRequest(parse_source(str(source)), (load_target(target),), Path(), data=data)


def test_a_real_model(tmp_path: Path) -> None:
    data = fashion_part(tmp_path, "calibration", 10)
    told: list[str] = []
    found = run_analysis(
        request(FASHION / "model.onnx", calibration=str(data), scale=FASHION_SCALE),
        lambda what, done, total: told.append(what), worst=1,
    )  # fmt: skip
    assert found.recipe.name == "int8-s8s8" and 20 < found.model_db < 60
    assert [each.operator for each in found.layers].count("Gemm") >= 1
    assert sum(each.effect_db is not None for each in found.layers) == 1
    assert "onnx: calibrating" in told and "looking at each layer" in told


def test_tflite(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", keras_tensor=np.stack(normal(5, 8, 8, 8, 3)))
    data = str(tmp_path / "images.npz")
    found = run_analysis(request(TINY_TFLITE, "coral-dev-board", calibration=data),
                         lambda *now: None, worst=0)  # fmt: skip
    assert {each.operator for each in found.layers} >= {"CONV_2D"}
    assert all(each.screened is not None and each.effect_db is None for each in found.layers)


def test_one_layer_is_enough_and_dynamic_needs_no_data(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "one.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], "only")],
        {"x": [1, 16]}, {"y": [1, 8]}, w=normal(0, 1, 16, 8)[0],
    )  # fmt: skip
    wanted = ExportRequest(
        parse_source(str(path)), (load_target("raspberry-pi-5"),), Path(),
        recipes=(find_recipe("int8-dynamic"),),
    )  # fmt: skip
    found = run_analysis(wanted, lambda *now: None, worst=8)
    (only,) = found.layers
    assert only.screened is not None and only.screened.activations_db is None
    assert only.effect_db is None and found.model_db > 30


def test_static_int8_needs_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs calibration data"):
        run_analysis(request(matmul_net(tmp_path / "net.onnx")), lambda *now: None, worst=1)
