"""What is said of single layers: their weights, and what keeping them float truly gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import DENSE_TFLITE, artifact, conv_net, matmul_net, normal, save_onnx
from onnx import helper
from scipy.stats import kurtosis

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, seeded_samples
from edgewright.exporters.evaluate import differences
from edgewright.exporters.quantize.apply import calibrate, layers_of, quantize
from edgewright.exporters.quantize.layers import Layer
from edgewright.exporters.quantize.plan import with_float
from edgewright.exporters.quantize.recipe import Recipe
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.screen import Screened
from edgewright.exporters.quantize.sensitivity import (
    Sensitivity,
    WeightDistribution,
    distribution,
    level_db,
    look,
    measure_worst,
)
from edgewright.exporters.quantize.statistics import Statistics
from edgewright.exporters.runtime import LoadedArtifact

STATIC = RECIPES["int8-u8s8"].recipe
DYNAMIC = RECIPES["int8-dynamic"].recipe
PLAIN = WeightDistribution(-1, 1, 3.0, 4, 0)


def layer(weights: np.ndarray) -> Layer:
    return Layer("one", "MatMul", "x", "y", "w", weights, None, None, True)


def samples_of(model: Artifact, count: int = 6) -> list[Sample]:
    return seeded_samples(model.inputs, count, seed=5)


def statistics_of(model: Artifact, samples: list[Sample], tmp_path: Path) -> Statistics:
    from edgewright.exporters.data import open_dataset

    port = model.inputs[0]
    np.savez(
        tmp_path / "rows.npz", **{port.source_name: [s.inputs[port.source_name] for s in samples]}
    )
    return calibrate(model, open_dataset(str(tmp_path / "rows.npz"), model.inputs))


def made(
    model: Artifact, recipe: Recipe, statistics: Statistics | None, samples: list[Sample], at: Path
) -> Artifact:
    return quantize(model, recipe, statistics, (samples, "seeded"), at)


# How weights are spread


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(2, 30), st.integers(1, 3))
def test_a_distribution_is_what_scipy_and_numpy_say(
    seed: int, channels: int, inputs: int, tails: int
) -> None:
    generator = np.random.default_rng(seed)
    weights = (generator.normal(size=(channels, inputs)) ** (2 * tails - 1)).astype(np.float32)
    found = distribution(layer(weights))
    assert (found.low, found.high) == (weights.min(), weights.max())
    assert found.channels == channels
    assert found.kurtosis == pytest.approx(kurtosis(weights, axis=None, fisher=False), rel=1e-4)


def test_normal_weights_have_kurtosis_3() -> None:
    found = distribution(layer(normal(0, 1, 200, 500)[0]))
    assert found.kurtosis == pytest.approx(3, abs=0.1) and found.outlier_channels == 0


def test_channels_that_stand_out_are_counted() -> None:
    weights = np.ones((10, 4), np.float32)
    weights[[2, 7], 1] = -8.1
    weights[4, 0] = 7.9
    assert distribution(layer(weights)).outlier_channels == 2


def test_dead_channels_are_not_the_measure_of_the_others() -> None:
    weights = np.zeros((10, 4), np.float32)
    weights[:3] = 1
    assert distribution(layer(weights)).outlier_channels == 0
    weights[3] = 100
    assert distribution(layer(weights)).outlier_channels == 1


@pytest.mark.parametrize("value", [0.0, -0.25])
def test_constant_weights_have_no_kurtosis(value: float) -> None:
    found = distribution(layer(np.full((3, 5), value, np.float32)))
    assert found == WeightDistribution(value, value, None, 3, 0)


# Figures that follow


def test_noise_adds_up_and_gain_is_weighed_by_cost() -> None:
    both = Sensitivity("a", "Conv", PLAIN, Screened(20.0, 10.0))
    assert both.noise == pytest.approx(0.11)
    assert Sensitivity("a", "Conv", PLAIN, Screened(None, 10.0)).noise == pytest.approx(0.1)
    assert Sensitivity("a", "Conv", PLAIN, None).noise == 0
    assert both.gain_for_cost == -np.inf
    tried = Sensitivity("a", "Conv", PLAIN, Screened(20.0, 10.0), effect_db=3.0, cost=1.5)
    assert tried.gain_for_cost == pytest.approx(6)
    # One that seems to make the model faster is not worth infinitely much.
    free = Sensitivity("a", "Conv", PLAIN, Screened(20.0, 10.0), effect_db=3.0, cost=0.7)
    assert free.gain_for_cost == pytest.approx(300)


# Looking and measuring


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_every_layer_is_looked_at_in_its_order(model_format: str, tmp_path: Path) -> None:
    onnx = model_format == "onnx"
    model = artifact(conv_net(tmp_path / "net.onnx") if onnx else DENSE_TFLITE)
    samples = samples_of(model)
    recipe = STATIC if onnx else RECIPES["int8-s8s8"].recipe
    statistics = statistics_of(model, samples, tmp_path)
    names = [each.name for each in layers_of(model)]
    told: list[tuple[int, int]] = []
    looked = look(
        model, with_float(recipe, names[1:2]), statistics, samples,
        lambda what, done, total: told.append((done, total)),
    )  # fmt: skip
    assert [each.name for each in looked] == names
    assert told == [(n, 6) for n in range(1, 7)]
    assert looked[1].screened is None  # stays float
    for each in (looked[0], *looked[2:]):
        assert each.screened is not None
        assert each.screened.weights_db is not None and each.screened.weights_db > 20
        assert each.screened.activations_db is not None
        assert each.effect_db is None and each.cost is None


def test_the_effect_is_that_of_the_model_with_the_layer_in_float(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    samples = samples_of(model)
    statistics = statistics_of(model, samples, tmp_path)
    whole = made(model, STATIC, statistics, samples, tmp_path / "whole.onnx")
    looked = look(model, STATIC, statistics, samples)
    known = measure_worst(model, whole, statistics, samples, looked, worst=2)
    worst = sorted(looked, key=lambda each: -each.noise)[:2]
    assert {k.name for k in known if k.effect_db is not None} == {w.name for w in worst}
    reference = LoadedArtifact(model)
    base = whole.differences[0].sqnr_db
    for each in known:
        if each.effect_db is None:
            assert each.cost is None and each in looked
            continue
        recipe = with_float(STATIC, [each.name])
        other = made(model, recipe, statistics, samples, tmp_path / "other.onnx")
        (found,) = differences(
            lambda sample: reference.run(sample.inputs), LoadedArtifact(other), samples
        )
        assert found.sqnr_db is not None and base is not None
        assert each.effect_db == pytest.approx(found.sqnr_db - base, abs=1e-6)
        assert each.cost is not None and each.cost > 0
    assert level_db(model, whole, samples) == pytest.approx(base)


def test_the_layer_that_was_spoilt_gains_most(tmp_path: Path) -> None:
    """One weight out of all proportion in a layer that is quantized per tensor."""
    generator = np.random.default_rng(0)
    w1, w2, w3 = (generator.normal(size=(32, 32)).astype(np.float32) for _ in range(3))
    w2[3, 4] = 2000
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
        helper.make_node("MatMul", ["s", "w2"], ["b"], "spoilt"),
        helper.make_node("MatMul", ["b", "w3"], ["y"], "last"),
        helper.make_node("Mul", ["a", "mask"], ["s"], "mask"),  # the outlier itself meets zeros
    ]
    nodes[1], nodes[2], nodes[3] = nodes[3], nodes[1], nodes[2]
    mask = np.ones((1, 32), np.float32)
    mask[0, 3] = 0
    path = save_onnx(
        tmp_path / "net.onnx", nodes, {"x": [1, 32]}, {"y": [1, 32]}, w1=w1, w2=w2, w3=w3, mask=mask
    )
    model = artifact(path)
    samples = samples_of(model)
    scheme = STATIC.rules[0].scheme
    assert scheme is not None
    rule = STATIC.rules[0].model_copy(
        update={
            "scheme": scheme.model_copy(update={"granularity": "per-tensor"}),
            "operator": "MatMul",
        }
    )
    recipe = STATIC.model_copy(update={"rules": (rule,)})
    statistics = statistics_of(model, samples, tmp_path)
    whole = made(model, recipe, statistics, samples, tmp_path / "whole.onnx")
    looked = look(model, recipe, statistics, samples)
    known = measure_worst(model, whole, statistics, samples, looked)
    by_name = {each.name: each for each in known}
    assert max(looked, key=lambda each: each.noise).name == "spoilt"
    assert max(known, key=lambda each: each.effect_db or -1e9).name == "spoilt"
    assert (by_name["spoilt"].effect_db or 0) > 15
    assert (by_name["spoilt"].weights.kurtosis or 0) > 100
    assert by_name["spoilt"].weights.outlier_channels == 1


def test_float16_is_not_screened(tmp_path: Path) -> None:
    model = artifact(matmul_net(tmp_path / "net.onnx"))
    looked = look(model, RECIPES["float16"].recipe, None, samples_of(model))
    assert [each.screened for each in looked] == [None, None]


def test_the_only_layer_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "one.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], "only")],
        {"x": [1, 16]}, {"y": [1, 8]}, w=normal(0, 1, 16, 8)[0],
    )  # fmt: skip
    model = artifact(path)
    samples = samples_of(model)
    whole = made(model, DYNAMIC, None, samples, tmp_path / "whole.onnx")
    looked = look(model, DYNAMIC, None, samples)
    (known,) = measure_worst(model, whole, None, samples, looked)
    assert known.screened is not None and known.effect_db is None and known.cost is None


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    weights = normal(0, 1, 16, 8)[0]
    weights[3, 3] = np.nan
    path = save_onnx(
        tmp_path / "nan.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], "only")],
        {"x": [1, 16]}, {"y": [1, 8]}, w=weights,
    )  # fmt: skip
    model = artifact(path)
    with pytest.raises(UsageError, match="NaN"):
        look(model, DYNAMIC, None, samples_of(model))
