"""Recipes applied to real TFLite models, and what the written graphs hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import TensorType
from models import DENSE_TFLITE, GOLDEN, TINY_TFLITE, artifact, normal, operators, sha256
from small_tflite import Array, Graph, Stored, run, sqnr
from tflite_making import (
    DYNAMIC,
    HALF,
    STATIC,
    STORED,
    WIDE,
    blocks,
    but,
    inputs,
    made,
    recipe,
)

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize.apply import calibrate, quantize
from edgewright.exporters.quantize.recipe import RangeMethod, Rule, Scheme
from edgewright.exporters.quantize.statistics import Statistics
from edgewright.exporters.quantize.tflite import apply, unsupported
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.targets.facts import ModelFacts, QuantizedProducts
from edgewright.targets.inspect import inspect_model

CONVNET = GOLDEN / "targets_conv_float.tflite"
INT8, INT16, FLOAT = np.int8, np.int16, np.float32
FLOAT32_TYPE, INT8_TYPE = TensorType.FLOAT32, TensorType.INT8


class Made:
    def __init__(self, source: Path, directory: Path) -> None:
        self.directory = directory
        self.float: Artifact = artifact(Path(shutil.copy(source, directory)))
        (port,) = self.float.inputs
        shape = [size or 1 for size in port.spec.shape]
        np.savez(directory / "data.npz", **{port.source_name: np.stack(normal(1, 24, *shape))})
        self.data = open_dataset(str(directory / "data.npz"), self.float.inputs)
        self.statistics: Statistics = calibrate(self.float, self.data, covariances=True)
        self.samples: list[Sample] = self.data.first(8)

    def quantize(self, *rules: Rule | Scheme) -> Artifact:
        return quantize(
            self.float,
            recipe(*rules),
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


@pytest.fixture(scope="module")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(CONVNET, tmp_path_factory.mktemp("convnet"))


def facts(made: Artifact) -> ModelFacts:
    return inspect_model(made.path)


def products(made: Artifact) -> dict[str, QuantizedProducts]:
    return {use.operator: use for use in facts(made).quantized}


def reached(made: Artifact) -> float:
    (difference,) = made.differences
    assert difference.sqnr_db is not None
    return difference.sqnr_db


def dtypes(path: Path) -> tuple[list[type], list[type]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    return (
        [detail["dtype"] for detail in interpreter.get_input_details()],
        [detail["dtype"] for detail in interpreter.get_output_details()],
    )


def test_full_int8_leaves_nothing_float(conv: Made) -> None:
    made = conv.quantize(STATIC)
    assert all(set(operator.dtypes) <= {"int8", "int32"} for operator in facts(made).operators)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators(facts(made)))
    for use in products(made).values():
        assert use.per_channel and not use.dynamic
        assert (use.activation_dtype, use.weight_dtype) == ("int8", "int8")
    assert made.inputs[0].spec.dtype == made.outputs[0].spec.dtype == "int8"
    assert made.inputs[0].source_name == conv.float.inputs[0].source_name
    assert made.sha256 == sha256(made.path) and reached(made) > 25
    # Real values in and out, whatever the file takes.
    (output,) = LoadedArtifact(made).run(conv.samples[0].inputs)
    (expected,) = LoadedArtifact(conv.float).run(conv.samples[0].inputs)
    assert output.dtype == np.float32 and np.allclose(output, expected, atol=0.1)


@pytest.mark.parametrize("name", ["conv", "dense", "convnet"])
def test_16_bit_activations_come_close_to_weights_alone(
    name: str, request: pytest.FixtureRequest
) -> None:
    net: Made = request.getfixturevalue(name)
    made = net.quantize(WIDE)
    assert dtypes(made.path) == ([INT16], [INT16])
    for use in products(made).values():
        assert (use.activation_dtype, use.weight_dtype) == ("int16", "int8")
    assert reached(made) > reached(net.quantize(STORED)) - 2


def test_per_tensor_is_per_tensor(conv: Made) -> None:
    made = conv.quantize(but(STATIC, granularity="per-tensor"))
    assert not any(use.per_channel for use in products(made).values())


def test_rules_choose_operators_and_scopes(dense: Made) -> None:
    linear = dense.quantize(Rule(operator="FULLY_CONNECTED", scheme=STATIC))
    assert set(products(linear)) == {"FULLY_CONNECTED"}
    assert products(linear)["FULLY_CONNECTED"].count == 2
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(operators(facts(linear)))
    assert linear.inputs[0].spec.dtype == linear.outputs[0].spec.dtype == "float32"
    kept = dense.quantize(DYNAMIC, Rule(operator="CONV_2D", scheme=None))
    assert set(products(kept)) == {"FULLY_CONNECTED"}
    scoped = dense.quantize(Rule(scope="Relu", operator="FULLY_CONNECTED", scheme=DYNAMIC))
    assert products(scoped)["FULLY_CONNECTED"].count == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("convolution", {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}),
        ("matrix-product", {"FULLY_CONNECTED"}),
    ],
)
def test_classes_of_operators_are_tflites(word: str, expected: set[str], convnet: Made) -> None:
    for scheme in (STATIC, DYNAMIC):
        made = convnet.quantize(Rule(operator=word, scheme=scheme))
        assert set(products(made)) == expected


def test_dynamic_int8_computes_in_integers_and_stays_float_outside(dense: Made) -> None:
    made = dense.quantize(DYNAMIC)
    for use in products(made).values():
        assert use.dynamic and use.per_channel
        assert (use.activation_dtype, use.weight_dtype) == ("float32", "int8")
    assert made.inputs[0].spec.dtype == "float32"
    assert reached(made) > 30


def test_weight_only_int8_is_dequantized(dense: Made) -> None:
    made = dense.quantize(STORED)
    assert all(not use.dynamic for use in products(made).values())
    assert operators(facts(made))["DEQUANTIZE"] == 3
    assert reached(made) > 35
    assert made.size_bytes < 0.6 * dense.float.size_bytes


def test_float16_keeps_weights_in_half(dense: Made) -> None:
    made = dense.quantize(HALF)
    dequantize = next(o for o in facts(made).operators if o.name == "DEQUANTIZE")
    assert dequantize.count >= 3 and dequantize.dtypes == ("float16", "float32")
    assert made.inputs[0].spec.dtype == "float32"
    assert made.size_bytes < 0.75 * dense.float.size_bytes
    assert reached(made) > 55


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_int4_in_blocks_on_dense_layers(dense: Made, rounding: str) -> None:
    made = dense.quantize(Rule(operator="matrix-product", scheme=blocks(rounding=rounding)))
    use = products(made)["FULLY_CONNECTED"]
    assert (use.count, use.weight_dtype, use.dynamic) == (2, "int4", True)
    assert set(products(made)) == {"FULLY_CONNECTED"}
    assert 10 < reached(made) < 50
    assert made.size_bytes < 0.5 * dense.float.size_bytes


def test_schemes_mix_in_one_model(dense: Made) -> None:
    stored = but(STORED, weights="int4")
    first, last = Rule(scope="Relu", operator="FULLY_CONNECTED", scheme=WIDE), "StatefulPartitioned"
    made = dense.quantize(STATIC, first, Rule(scope=last, scheme=stored))
    found = {(use.activation_dtype, use.weight_dtype) for use in facts(made).quantized}
    assert found == {("int8", "int8"), ("int16", "int8"), ("float32", "int4")}
    # INT8 becomes INT16 without a detour; the last layer computes in float.
    assert operators(facts(made))["QUANTIZE"] == 1 and dtypes(made.path) == ([INT8], [FLOAT])
    assert reached(made) > 15
    wide = dense.quantize(STATIC, first)
    assert operators(facts(wide))["QUANTIZE"] == 2 and dtypes(wide.path) == ([INT8], [INT8])


@pytest.mark.parametrize(
    ("kept", "ends"),
    [("conv2d", (FLOAT, INT8)), ("StatefulPartitioned", (INT8, FLOAT)), ("nothing", (INT8, INT8))],
)
def test_inputs_and_outputs_stay_float_where_float_is_next(
    kept: str, ends: tuple[type, type], dense: Made
) -> None:
    made = dense.quantize(STATIC, Rule(scope=kept, scheme=None))
    assert dtypes(made.path) == ([ends[0]], [ends[1]])
    assert reached(made) > 25


def test_copied_values_keep_their_parameters(tmp_path: Path) -> None:
    """Whatever ranges the statistics have for them."""
    graph = Graph()
    source = graph.input("x", [1, 4, 4, 2])
    pads = graph.constant("pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = graph.node("PAD", [source, pads], "padded", [1, 6, 6, 2], "PadOptions")
    pooled = graph.node(
        "MAX_POOL_2D", [padded], "pooled", [1, 3, 3, 2], "Pool2DOptions",
        strideH=2, strideW=2, filterHeight=2, filterWidth=2, padding=1,
    )  # fmt: skip
    shape = graph.constant("shape", np.array([1, 18], np.int32))
    flat = graph.node("RESHAPE", [pooled, shape], "flat", [1, 18], "ReshapeOptions")
    weights = np.random.default_rng(0).normal(size=(6, 18)).astype(np.float32)
    other = graph.dense(flat, graph.constant("w", weights), "other")
    both = graph.node(
        "CONCATENATION", [flat, other], "both", [1, 24], "ConcatenationOptions", axis=1
    )
    shares = graph.node("SOFTMAX", [both], "shares", [1, 24], "SoftmaxOptions", beta=1.0)
    path = graph.write(tmp_path / "m.tflite", shares)
    for scheme in (STATIC, but(STATIC, ranges=RangeMethod(percentile=90)), WIDE):
        quantized = made(path, scheme)
        stored = Stored(quantized)

        def parameters(name: str, stored: Stored = stored) -> tuple[float, int]:
            return float(stored.scales(name)[0]), int(stored.zero_points(name)[0])

        assert parameters("x") == parameters("padded") == parameters("pooled")
        assert parameters("x") == parameters("flat") != parameters("both")
        fixed = (1 / 32768, 0) if scheme is WIDE else (1 / 256, -128)
        assert parameters("shares") == fixed
        if scheme.ranges is not None and scheme.ranges.percentile != 90:
            (x,) = inputs(path, 1)[0]
            np.testing.assert_allclose(run(quantized, x)[0], run(path, x)[0], atol=0.1)


def test_branches_have_no_ranges_and_stay_float(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN / "targets_branch.tflite", tmp_path))
    static = made(path, STATIC)
    graphs = Stored(static).model.subgraphs
    types = [{tensor.type for tensor in graph.tensors} for graph in graphs]
    assert INT8_TYPE in types[0] and types[1] == types[2] == {FLOAT32_TYPE}
    for sample in inputs(path):
        assert sqnr(run(path, *sample), run(static, *sample)) > 20


def test_a_recipe_that_matches_nothing_is_refused(dense: Made) -> None:
    (dense.directory / "quantized.tflite").unlink(missing_ok=True)
    for rule in (
        Rule(scope="nothing is called this", scheme=DYNAMIC),
        Rule(operator="BATCH_MATMUL", scheme=DYNAMIC),
    ):
        with pytest.raises(UsageError, match="recipe mine quantizes nothing in exporters_float"):
            dense.quantize(rule)
        assert not (dense.directory / "quantized.tflite").exists()


@pytest.mark.parametrize(
    ("operator", "hint"),
    [
        ("FULLY_CONECTED", "the nearest are FULLY_CONNECTED"),
        ("CONV_2D_TRANSPOSE", "TRANSPOSE_CONV"),
        ("Gemm", "classes of operators are convolution, matrix-product, embedding"),
    ],
)
def test_unknown_operators_are_refused_with_the_nearest(
    operator: str, hint: str, dense: Made
) -> None:
    with pytest.raises(
        UsageError, match=f"mine: litert-quantizer has no operator {operator}"
    ) as caught:
        dense.quantize(Rule(operator=operator, scheme=DYNAMIC))
    assert caught.value.hint is not None and hint in caught.value.hint


UNSUPPORTED = {
    "uint8 weights": Scheme(weights="uint8"),
    "uint8 activations": Scheme(weights="int8", activations="uint8"),
    "int16 activations only with symmetric_activations": Scheme(
        weights="int8", activations="int16"
    ),
    "choose for themselves whether dynamic activations": but(DYNAMIC, symmetric_activations=True),
    "asymmetric weights only where": but(DYNAMIC, symmetric_weights=False),
    "blocks of weights only in symmetric int4": but(blocks(), weights="int8"),
    "no static activations beside blocks": but(
        blocks(), activations="int16", symmetric_activations=True
    ),
}


@pytest.mark.parametrize("words", UNSUPPORTED)
def test_what_tflite_can_not_hold_is_refused_and_not_bent(words: str, tmp_path: Path) -> None:
    scheme = UNSUPPORTED[words]
    why = unsupported(scheme)
    assert why is not None and words in why
    with pytest.raises(UsageError, match=f"recipe mine: .*{words}"):
        apply(TINY_TFLITE, recipe(scheme), None, tmp_path / "q.tflite")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "scheme",
    [STATIC, WIDE, DYNAMIC, STORED, HALF, blocks(64), but(STORED, symmetric_weights=False),
     but(STATIC, symmetric_activations=True), but(STATIC, reduce_range=True),
     but(STORED, weights="int4", symmetric_weights=False), but(WIDE, weights="int4")],
)  # fmt: skip
def test_what_is_not_refused_can_be_made_and_runs(scheme: Scheme, dense: Made) -> None:
    assert unsupported(scheme) is None
    assert reached(dense.quantize(scheme)) > 12


def test_operators_that_can_not_hold_a_scheme_are_passed_over_or_named(convnet: Made) -> None:
    int4 = but(DYNAMIC, weights="int4")
    for word in ("*", "convolution"):
        assert "DEPTHWISE_CONV_2D" not in products(
            convnet.quantize(Rule(operator=word, scheme=int4))
        )
    words = "TFLite's DEPTHWISE_CONV_2D does not take int4 weights with dynamic activations"
    with pytest.raises(UsageError, match=f"recipe mine: {words}"):
        convnet.quantize(Rule(operator="DEPTHWISE_CONV_2D", scheme=int4))
    with pytest.raises(UsageError, match="CONV_2D does not take int4 weights in blocks of 32"):
        convnet.quantize(Rule(operator="convolution", scheme=blocks()))
    with pytest.raises(UsageError, match=r"FULLY_CONNECTED does not take .* float32 activations"):
        convnet.quantize(
            Rule(operator="matrix-product", scheme=but(blocks(), activations="float32"))
        )


def test_blocks_that_do_not_divide_the_weights_are_passed_over_or_named(
    conv: Made, dense: Made
) -> None:
    with pytest.raises(UsageError, match=r"4 inputs of FULLY_CONNECTED are not divisible"):
        conv.quantize(Rule(operator="FULLY_CONNECTED", scheme=blocks()))
    with pytest.raises(UsageError, match=r"32 inputs .* not divisible by blocks of 64 \(Stateful"):
        dense.quantize(Rule(operator="FULLY_CONNECTED", scheme=blocks(64)))
    made = dense.quantize(Rule(operator="matrix-product", scheme=blocks(64)))
    assert products(made)["FULLY_CONNECTED"].count == 1


def test_weights_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    large: Array = np.full((2, 4), 1e5, np.float32)
    graph.dense(graph.input("x", [1, 4]), graph.constant("w", large), "y")
    path = graph.write(tmp_path / "m.tflite", 2)
    with pytest.raises(UsageError, match="FULLY_CONNECTED are too large for float16"):
        apply(path, recipe(HALF), None, tmp_path / "q.tflite")


def test_statistics_that_lack_a_tensor_are_refused_by_its_name(
    conv: Made, dense: Made, tmp_path: Path
) -> None:
    destination = tmp_path / "q.tflite"
    destination.write_text("the old file")
    for known in (None, dense.statistics):
        with pytest.raises(UsageError, match=r"statistics (of activations|hold .* tensor)"):
            apply(conv.float.path, recipe(STATIC), known, destination)
    assert destination.read_text() == "the old file"


def test_the_float_model_is_never_touched(conv: Made, dense: Made) -> None:
    assert sha256(conv.float.path) == sha256(TINY_TFLITE) == conv.float.sha256
    assert sha256(dense.float.path) == sha256(DENSE_TFLITE)
