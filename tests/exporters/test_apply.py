"""From a float artifact and a recipe to a quantized one, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import DENSE_TFLITE, TINY_TFLITE, artifact, conv_net, matmul_net, save_onnx, sha256
from onnx import helper
from quantizing import rows, uneven_net
from small_tflite import Graph

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize.apply import (
    calibrate,
    layers_of,
    native,
    quantize,
    refuse_unfit,
    tap_of,
    unmatched,
)
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.statistics import Statistics
from edgewright.exporters.quantize.statistics_file import load, require_for, save
from edgewright.exporters.runtime import LoadedArtifact

STATIC = RECIPES["int8-u8s8"].recipe
SIGNED = RECIPES["int8-s8s8"].recipe
PER_TENSOR = Scheme(weights="int8", activations="uint8", granularity="per-tensor")
WEIGHTS = Scheme(weights="int8")


def recipe(*rules: Rule, **changes: object) -> Recipe:
    return Recipe.model_validate({"name": "mine", "rules": rules, **changes})


def ready(path: Path, model: Artifact, count: int = 12) -> tuple[Statistics, list[Sample], str]:
    data = rows(path / "rows.npz", model, count)
    return calibrate(model, data), data.first(8), "rows"


# Rules that match nothing


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            Rule(scope="conv3", scheme=None),
            "rule 2 of recipe mine (scope 'conv3', operator '*') matches nothing; nearest names: "
            "conv2, conv1",
        ),
        (Rule(scope="^conv9$", operator="Conv", scheme=None), "nearest names: conv2, conv1"),
        (Rule(operator="CONV_2D", scheme=None), "operator 'CONV_2D') matches nothing; nearest op"),
        (Rule(operator="Gem", scheme=None), "nearest operators: Gemm"),
        (Rule(operator="embedding", scheme=None), "nearest operators: Conv, Flatten, Gemm, Glob"),
    ],
)
def test_a_rule_that_matches_nothing_is_told_with_what_is_near(
    rule: Rule, words: str, tmp_path: Path
) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    (told,) = unmatched(recipe(Rule(scheme=WEIGHTS), rule), model)
    assert words in told


def test_rules_that_match_are_not_told(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    fits = recipe(Rule(operator="convolution", scheme=WEIGHTS), Rule(scope="relu", scheme=None))
    assert unmatched(fits, model) == []
    only_tflite = recipe(Rule(operator="FULLY_CONNECTED", scheme=WEIGHTS))
    assert unmatched(only_tflite, artifact(DENSE_TFLITE)) == []
    (told,) = unmatched(only_tflite, model)
    assert "FULLY_CONNECTED" in told


# What does not fit


def test_a_scheme_that_the_format_cannot_hold_is_named() -> None:
    odd = recipe(Rule(scheme=Scheme(weights="uint8", activations="int8")))
    with pytest.raises(UsageError, match="recipe mine: ONNX Runtime multiplies int8") as caught:
        refuse_unfit(odd, "onnx")
    assert caught.value.hint
    with pytest.raises(UsageError, match="recipe mine: TFLite"):
        refuse_unfit(odd, "tflite")
    with pytest.raises(UsageError, match="recipe int8-u8s8 is for onnx, not tflite") as caught:
        refuse_unfit(STATIC, "tflite")
    assert caught.value.hint


@pytest.mark.parametrize("named", RECIPES.values(), ids=list(RECIPES))
def test_every_named_recipe_fits_its_formats(named: object) -> None:
    told = getattr(named, "recipe")  # noqa: B009
    for model_format in [told.format] if told.format else ["onnx", "tflite"]:
        refuse_unfit(told, model_format)


def test_static_ranges_need_statistics(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    with pytest.raises(UsageError, match="int8-u8s8 needs calibration data") as caught:
        quantize(model, STATIC, None, ([], ""), tmp_path / "out.onnx")
    assert caught.value.hint is not None and "--statistics" in caught.value.hint
    assert not (tmp_path / "out.onnx").exists()


def test_statistics_of_another_model_are_refused_by_hash(tmp_path: Path) -> None:
    one = artifact(conv_net(tmp_path / "one.onnx", seed=1))
    two = artifact(conv_net(tmp_path / "two.onnx", seed=2))
    statistics, _, _ = ready(tmp_path, one)
    kept = tmp_path / "one.npz"
    save(statistics, kept)
    require_for(load(kept), one.sha256, kept)
    with pytest.raises(UsageError, match=f"is of another model .*{one.sha256[:12]}"):
        require_for(load(kept), two.sha256, kept)


def test_a_recipe_that_quantizes_nothing(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    for rules in (
        [Rule(operator="embedding", scheme=WEIGHTS)],
        [Rule(scheme=WEIGHTS), Rule(scheme=None)],
        [Rule(operator="Relu", scheme=WEIGHTS)],
    ):
        with pytest.raises(UsageError, match=r"matches no operator|quantizes nothing") as caught:
            quantize(model, recipe(*rules), None, ([], ""), tmp_path / "out.onnx")
        assert caught.value.hint is not None and "Conv" in caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx"]


# Calibration


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_the_tap_gives_the_model_s_own_answers(model_format: str, tmp_path: Path) -> None:
    path = conv_net(tmp_path / "net.onnx") if model_format == "onnx" else TINY_TFLITE
    model = artifact(path)
    (sample,) = rows(tmp_path / "rows.npz", model, 1).first(1)
    seen = tap_of(model)(native(model, sample))
    assert {layer.input for layer in layers_of(model)} <= seen.keys()
    assert {layer.output for layer in layers_of(model)} <= seen.keys()
    (answer,) = LoadedArtifact(model).run(sample.inputs)
    assert any(
        array.shape == answer.shape and np.allclose(array, answer, atol=1e-5)
        for array in seen.values()
    )


def test_an_activation_that_is_no_number_is_named_with_its_sample(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Log", ["x"], ["logarithm"], "log"),
        helper.make_node("MatMul", ["logarithm", "w"], ["y"], "product"),
    ]
    model = artifact(
        save_onnx(
            tmp_path / "log.onnx", nodes, {"x": [1, 4]}, {"y": [1, 4]}, w=np.eye(4, dtype="f4")
        )
    )
    good, bad = np.full((1, 4), 2, np.float32), np.full((1, 4), -1, np.float32)
    np.savez(tmp_path / "x.npz", x=np.stack([good, good, bad]))
    data = open_dataset(str(tmp_path / "x.npz"), model.inputs)
    with pytest.raises(
        UsageError, match=r"calibration sample 2 gives NaN or Inf in tensor (logarithm|y)"
    ):
        calibrate(model, data, checkpoint=tmp_path / "kept.npz")


def test_a_finished_calibration_is_not_run_again(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    data = rows(tmp_path / "rows.npz", model, 6)
    told: list[tuple[int, int]] = []
    first = calibrate(model, data, on_sample=lambda *now: told.append(now))
    assert told == [(n, 6) for n in range(1, 7)]
    kept = tmp_path / "kept.npz"
    save(first, kept)
    again = calibrate(model, data, checkpoint=kept, on_sample=lambda *now: told.append((-1, 0)))
    assert (-1, 0) not in told and again.samples == 6
    # Other data, another model or a damaged file: from the start.
    for path in (kept, tmp_path / "damaged.npz"):
        other = rows(tmp_path / "other.npz", model, 3, seed=9)
        if path != kept:
            path.write_bytes(kept.read_bytes()[:-100])
            other = data
        told.clear()
        calibrate(model, other, checkpoint=path, on_sample=lambda *now: told.append(now))
        assert len(told) == len(other)


# What is made


@pytest.mark.parametrize("name", ["int8-u8s8", "int8-dynamic", "int8-weights", "float16"])
def test_an_artifact_says_how_it_was_made(name: str, tmp_path: Path) -> None:
    model = artifact(matmul_net(tmp_path / "net.onnx"))
    statistics, samples, words = ready(tmp_path, model)
    told = RECIPES[name].recipe
    made = quantize(model, told, statistics, (samples, words), tmp_path / "out.onnx")
    assert made.path == tmp_path / "out.onnx" and made.sha256 == sha256(made.path)
    assert made.size_bytes == made.path.stat().st_size < model.size_bytes
    assert made.made_from == model.sha256 and made.recipe == told
    assert made.precision == told.precision and made.compared_on == "rows"
    reference, own = LoadedArtifact(model), LoadedArtifact(made)
    exact = np.concatenate([reference.run(s.inputs)[0] for s in samples])
    found = np.concatenate([own.run(s.inputs)[0] for s in samples])
    (difference,) = made.differences
    assert difference.sqnr_db == pytest.approx(
        10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)), abs=1e-3
    )
    assert difference.max_abs_error == pytest.approx(np.abs(exact - found).max())
    assert difference.sqnr_db is not None and difference.sqnr_db > 25


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_the_same_twice_is_the_same_file(model_format: str, tmp_path: Path) -> None:
    onnx_path = conv_net(tmp_path / "net.onnx")
    model = artifact(onnx_path if model_format == "onnx" else TINY_TFLITE)
    statistics, samples, words = ready(tmp_path, model)
    scheme = Scheme(weights="int8", activations="int8", rounding="stochastic", seed=3)
    hashes = {
        quantize(
            model, recipe(Rule(scheme=scheme)), statistics, (samples, words),
            tmp_path / f"{n}.{model_format}",
        ).sha256
        for n in range(2)
    }  # fmt: skip
    assert len(hashes) == 1


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
@pytest.mark.parametrize("values", [0.0, 0.3])
def test_constant_and_all_zero_tensors(model_format: str, values: float, tmp_path: Path) -> None:
    """Weights and activations that never change: nothing divides by zero."""
    if model_format == "onnx":
        nodes = [
            helper.make_node("Conv", ["x", "w1"], ["c"], "constant"),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("Conv", ["r", "w2", "b2"], ["y"], "after"),
        ]
        path = save_onnx(
            tmp_path / "net.onnx", nodes, {"x": [1, 2, 5, 5]}, {"y": [1, 3, 5, 5]},
            w1=np.full((4, 2, 1, 1), values, np.float32),
            w2=np.random.default_rng(0).normal(size=(3, 4, 1, 1)).astype(np.float32),
            b2=np.asarray([0.5, -1, 2], np.float32),
        )  # fmt: skip
    else:
        graph = Graph()
        x = graph.input("x", [1, 8])
        hidden = graph.dense(
            x, graph.constant("w1", np.full((4, 8), values, np.float32)), "h", activation="RELU"
        )
        w2 = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
        bias = graph.constant("b2", np.asarray([0.5, -1, 2], np.float32))
        y = graph.dense(hidden, graph.constant("w2", w2), "y", bias)
        path = graph.write(tmp_path / "net.tflite", y)
    model = artifact(path)
    statistics, samples, words = ready(tmp_path, model)
    for corrected in (False, True):
        told = SIGNED.model_copy(update={"bias_correction": corrected, "equalization": corrected})
        made = quantize(
            model, told, statistics, (samples, words), tmp_path / f"{corrected}.{model_format}"
        )
        (difference,) = made.differences
        assert difference.sqnr_db is None or difference.sqnr_db > 25


# Corrections


def errors_of(model: Artifact, made: Artifact, samples: list[Sample]) -> np.ndarray:
    reference, own = LoadedArtifact(model), LoadedArtifact(made)
    return np.stack([own.run(s.inputs)[0] - reference.run(s.inputs)[0] for s in samples])


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_bias_correction_takes_the_mean_error_away(model_format: str, tmp_path: Path) -> None:
    """Weights of 4 bits on inputs whose mean is far from zero."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(24, 16)).astype(np.float32)
    if model_format == "onnx":
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense")
        path = save_onnx(
            tmp_path / "net.onnx", [node], {"x": [1, 24]}, {"y": [1, 16]}, w=weights,
            b=np.zeros(16, np.float32),
        )  # fmt: skip
    else:
        graph = Graph()
        x = graph.input("x", [1, 24])
        path = graph.write(
            tmp_path / "net.tflite",
            graph.dense(x, graph.constant("w", np.ascontiguousarray(weights.T)), "y"),
        )
    model = artifact(path)
    np.savez(
        tmp_path / "x.npz", x=(generator.normal(size=(64, 1, 24)) * 0.3 + 2).astype(np.float32)
    )
    data = open_dataset(str(tmp_path / "x.npz"), model.inputs)
    statistics, samples = calibrate(model, data), list(data)
    coarse = recipe(Rule(scheme=Scheme(weights="int4")))
    means = []
    for corrected in (False, True):
        told = coarse.model_copy(update={"bias_correction": corrected})
        made = quantize(
            model, told, statistics, (samples, ""), tmp_path / f"{corrected}.{model_format}"
        )
        means.append(np.abs(errors_of(model, made, samples).mean(axis=0)).max())
    assert means[0] > 0.3 and means[1] < 0.01


def test_equalization_saves_a_net_whose_channels_differ(tmp_path: Path) -> None:
    """Quantized per tensor; the way of MobileNets (Nagel et al. 2019, figure 2)."""
    model = uneven_net(tmp_path / "net.onnx")
    statistics, samples, words = ready(tmp_path, model)
    levels = []
    for equalized in (False, True):
        told = recipe(Rule(scheme=PER_TENSOR), equalization=equalized)
        made = quantize(model, told, statistics, (samples, words), tmp_path / f"{equalized}.onnx")
        levels.append(made.differences[0].sqnr_db or 0)
    assert levels[1] > levels[0] + 10 and levels[1] > 25


def test_the_float_model_stays_as_it_is(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    statistics, samples, words = ready(tmp_path, model)
    told = STATIC.model_copy(update={"bias_correction": True, "equalization": True})
    made = quantize(model, told, statistics, (samples, words), tmp_path / "out.onnx")
    assert sha256(model.path) == model.sha256
    onnx.checker.check_model(str(made.path))
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["net.onnx", "out.onnx", "rows.npz"]


def test_a_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="can't write"):
        quantize(model, RECIPES["float16"].recipe, None, ([], ""), tmp_path / "taken" / "x.onnx")
