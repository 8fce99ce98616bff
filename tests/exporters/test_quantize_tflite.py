"""Recipes applied to real TFLite models, and what the written graphs hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from models import DENSE_TFLITE, TINY_TFLITE, artifact, normal, operators, sha256

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize.apply import calibrate, quantize
from edgewright.exporters.quantize.calibrate import Statistics
from edgewright.exporters.quantize.recipe import Calibration, Recipe, Rule, Scheme
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.targets.facts import ModelFacts, QuantizedProducts
from edgewright.targets.inspect import inspect_model

MIN_MAX = Calibration(method="min-max")
STATIC = Scheme(weights="int8", activations="int8")
DYNAMIC = Scheme(weights="int8", activations="dynamic")
HALF = Scheme(weights="float16", activations="float16", granularity="per-tensor")
BLOCKS = Scheme(weights="int4", activations="dynamic", granularity="blockwise", block_size=32)


def recipe(*rules: Rule, precision: str = "int8", calibration: Calibration | None = None) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "mine",
            "format": "tflite",
            "precision": precision,
            "rules": rules,
            "calibration": calibration,
        }
    )


class Made:
    def __init__(self, source: Path, directory: Path) -> None:
        self.directory = directory
        self.float: Artifact = artifact(Path(shutil.copy(source, directory)))
        (port,) = self.float.inputs
        shape = [size or 1 for size in port.spec.shape]
        np.savez(directory / "data.npz", **{port.source_name: np.stack(normal(1, 24, *shape))})
        self.data = open_dataset(str(directory / "data.npz"), self.float.inputs)
        self.statistics: Statistics = calibrate(self.float, self.data)
        self.samples: list[Sample] = self.data.first(8)

    def quantize(self, recipe: Recipe) -> Artifact:
        return quantize(
            self.float,
            recipe,
            self.statistics,  # as `export` does, whether the recipe needs them or not
            (self.samples, "its data"),
            self.directory / "quantized.tflite",
        )


@pytest.fixture(scope="module")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(TINY_TFLITE, tmp_path_factory.mktemp("conv"))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(DENSE_TFLITE, tmp_path_factory.mktemp("dense"))


def facts(made: Artifact) -> ModelFacts:
    return inspect_model(made.path)


def products(made: Artifact) -> dict[str, QuantizedProducts]:
    return {use.operator: use for use in facts(made).quantized}


def sqnr(made: Artifact) -> float:
    (difference,) = made.differences
    assert difference.sqnr_db is not None
    return difference.sqnr_db


def parameters(made: Artifact, name: str) -> tuple[float, int]:
    """Scale and zero point of the tensor whose name ends so."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(made.path))
    interpreter.allocate_tensors()
    (found,) = [
        detail["quantization_parameters"]
        for detail in interpreter.get_tensor_details()
        if detail["name"].endswith(name)
    ]
    return float(found["scales"][0]), int(found["zero_points"][0])


def test_the_tap_sees_inputs_activations_and_outputs(dense: Made) -> None:
    ranges = dense.statistics.ranges(MIN_MAX)
    with np.load(dense.directory / "data.npz") as archive:
        images = next(iter(archive.values()))
    assert (images.min(), images.max()) in ranges.values()
    relus = [name for name in ranges if "Relu" in name]
    assert len(relus) == 2 and all(ranges[name][0] >= 0 for name in relus)
    outputs = [LoadedArtifact(dense.float).run(sample.inputs)[0] for sample in dense.data]
    expected = (float(np.min(outputs)), float(np.max(outputs)))
    assert any(np.allclose(found, expected, atol=1e-4) for found in ranges.values())
    assert not any(name.endswith("MatMul") for name in ranges)  # weights are no activations


def test_full_int8_leaves_nothing_float(conv: Made) -> None:
    made = conv.quantize(recipe(Rule(scheme=STATIC), calibration=MIN_MAX))
    assert all(set(operator.dtypes) <= {"int8", "int32"} for operator in facts(made).operators)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators(facts(made)))
    for use in products(made).values():
        assert use.per_channel and not use.dynamic
        assert (use.activation_dtype, use.weight_dtype) == ("int8", "int8")
    assert made.inputs[0].spec.dtype == made.outputs[0].spec.dtype == "int8"
    assert made.inputs[0].source_name == conv.float.inputs[0].source_name
    assert made.sha256 == sha256(made.path) and sqnr(made) > 25
    # Real values in and out, whatever the file takes.
    (output,) = LoadedArtifact(made).run(conv.samples[0].inputs)
    (expected,) = LoadedArtifact(conv.float).run(conv.samples[0].inputs)
    assert output.dtype == np.float32 and np.allclose(output, expected, atol=0.1)


def test_per_tensor_is_per_tensor(conv: Made) -> None:
    plain = Scheme(weights="int8", activations="int8", granularity="per-tensor")
    made = conv.quantize(recipe(Rule(scheme=plain), calibration=MIN_MAX))
    assert not any(use.per_channel for use in products(made).values())


@pytest.mark.parametrize("calibration", [MIN_MAX, Calibration(percentile=90)])
def test_the_ranges_handed_over_are_used(conv: Made, calibration: Calibration) -> None:
    made = conv.quantize(recipe(Rule(scheme=STATIC), calibration=calibration))
    ranges = conv.statistics.ranges(calibration)
    for name in ("keras_tensor:0", "Mean"):
        (low, high) = next(value for key, value in ranges.items() if key.endswith(name))
        scale, zero = parameters(made, name)
        low, high = min(low, 0.0), max(high, 0.0)
        assert scale == pytest.approx((high - low) / 255, rel=1e-3)
        assert zero == pytest.approx(-128 - low / scale, abs=0.51)


def test_a_narrower_calibration_narrows(conv: Made) -> None:
    scales = [
        parameters(conv.quantize(recipe(Rule(scheme=STATIC), calibration=how)), "keras_tensor:0")[0]
        for how in (MIN_MAX, Calibration(percentile=90))
    ]
    assert scales[1] < 0.8 * scales[0]


def test_rules_choose_operators_and_scopes(dense: Made) -> None:
    rules = [Rule(operator="FULLY_CONNECTED", scheme=STATIC)]
    linear = dense.quantize(recipe(*rules, calibration=MIN_MAX))
    assert set(products(linear)) == {"FULLY_CONNECTED"}
    assert products(linear)["FULLY_CONNECTED"].count == 2
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(operators(facts(linear)))
    assert linear.inputs[0].spec.dtype == linear.outputs[0].spec.dtype == "float32"
    kept = [Rule(scheme=DYNAMIC), Rule(operator="CONV_2D", scheme=None)]
    assert set(products(dense.quantize(recipe(*kept, precision="int8-dynamic")))) == {
        "FULLY_CONNECTED"
    }
    scoped = [Rule(scope="Relu", operator="FULLY_CONNECTED", scheme=DYNAMIC)]
    made = dense.quantize(recipe(*scoped, precision="int8-dynamic"))
    assert products(made)["FULLY_CONNECTED"].count == 1


def test_dynamic_int8_computes_in_integers_and_stays_float_outside(dense: Made) -> None:
    made = dense.quantize(recipe(Rule(scheme=DYNAMIC), precision="int8-dynamic"))
    for use in products(made).values():
        assert use.dynamic and use.per_channel
        assert (use.activation_dtype, use.weight_dtype) == ("float32", "int8")
    assert made.inputs[0].spec.dtype == "float32"
    assert sqnr(made) > 30


def test_weight_only_int8_is_dequantized(dense: Made) -> None:
    made = dense.quantize(recipe(Rule(scheme=Scheme(weights="int8")), precision="int8-weights"))
    assert all(not use.dynamic for use in products(made).values())
    assert operators(facts(made))["DEQUANTIZE"] == 3
    assert sqnr(made) > 35
    assert made.size_bytes < 0.6 * dense.float.size_bytes


def test_float16_keeps_weights_in_half(dense: Made) -> None:
    made = dense.quantize(recipe(Rule(scheme=HALF), precision="float16"))
    dequantize = next(o for o in facts(made).operators if o.name == "DEQUANTIZE")
    assert dequantize.count >= 3 and dequantize.dtypes == ("float16", "float32")
    assert made.inputs[0].spec.dtype == "float32"
    assert made.size_bytes < 0.75 * dense.float.size_bytes
    assert sqnr(made) > 55


def test_int4_in_blocks_on_dense_layers(dense: Made) -> None:
    made = dense.quantize(recipe(Rule(operator="FULLY_CONNECTED", scheme=BLOCKS), precision="int4"))
    use = products(made)["FULLY_CONNECTED"]
    assert (use.count, use.weight_dtype, use.dynamic) == (2, "int4", True)
    assert set(products(made)) == {"FULLY_CONNECTED"}
    assert 10 < sqnr(made) < 35
    assert made.size_bytes < 0.5 * dense.float.size_bytes


def test_blocks_that_do_not_divide_the_weights_are_refused(conv: Made) -> None:
    with pytest.raises(UsageError, match=r"can't apply recipe mine: .*not divisible by block"):
        conv.quantize(recipe(Rule(operator="FULLY_CONNECTED", scheme=BLOCKS), precision="int4"))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(scope="nothing is called this", scheme=DYNAMIC),
        Rule(operator="BATCH_MATMUL", scheme=DYNAMIC),
    ],
    ids=["scope", "operator"],
)
def test_a_recipe_that_matches_nothing_is_refused(dense: Made, rule: Rule) -> None:
    (dense.directory / "quantized.tflite").unlink(missing_ok=True)
    with pytest.raises(
        UsageError, match="recipe mine quantizes nothing in exporters_float"
    ) as caught:
        dense.quantize(recipe(rule, precision="int8-dynamic"))
    assert caught.value.hint == "the model has CONV_2D, FULLY_CONNECTED, RESHAPE"
    assert not (dense.directory / "quantized.tflite").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(operator="NO_SUCH", scheme=DYNAMIC), "litert-quantizer has no operator NO_SUCH"),
        (Rule(scheme=Scheme(weights="uint8")), "TFLite has no uint8 weights"),
        (
            Rule(scheme=Scheme(weights="int8", activations="uint8")),
            "TFLite has no uint8 activations",
        ),
        (
            Rule(scheme=Scheme(weights="int8", activations="int8", symmetric_activations=True)),
            "TFLite has no symmetric activations",
        ),
        (
            Rule(scheme=Scheme(weights="int8", activations="dynamic", reduce_range=True)),
            "TFLite has no reduced ranges",
        ),
    ],
)
def test_what_tflite_can_not_hold_is_refused_and_not_bent(
    conv: Made, rule: Rule, message: str
) -> None:
    needs = rule.scheme is not None and rule.scheme.needs_calibration
    with pytest.raises(UsageError, match=f"recipe mine: {message}"):
        conv.quantize(recipe(rule, calibration=MIN_MAX if needs else None))


def test_statistics_that_do_not_fit_leave_what_was_there(conv: Made, tmp_path: Path) -> None:
    destination = tmp_path / "q.tflite"
    destination.write_text("the old file")
    static = recipe(Rule(scheme=STATIC), calibration=MIN_MAX)
    with pytest.raises(UsageError, match="can't apply recipe mine"):
        quantize(conv.float, static, Statistics({}, 1), (conv.samples, ""), destination)
    assert destination.read_text() == "the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["q.tflite"]


def test_the_float_model_is_never_touched(conv: Made, dense: Made) -> None:
    assert sha256(conv.float.path) == sha256(TINY_TFLITE) == conv.float.sha256
    assert sha256(dense.float.path) == sha256(DENSE_TFLITE)
