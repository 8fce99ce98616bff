"""Integers and scales in quantized TFLite files are those that we computed, and compute well."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from models import DENSE_TFLITE, GOLDEN
from small_tflite import Array, Graph, Stored, run, sqnr
from tflite_making import (
    DYNAMIC,
    STATIC,
    STORED,
    WIDE,
    blocks,
    but,
    inputs,
    made,
    recipe,
    statistics,
)

from edgewright.errors import UsageError
from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.recipe import RangeMethod, Rule, Scheme
from edgewright.exporters.quantize.tflite import apply, layers
from edgewright.exporters.quantize.tflite_layers import to_layer
from edgewright.exporters.quantize.weights import QuantizedWeights, quantize_weights

CONVNET = GOLDEN / "targets_conv_float.tflite"
MIN_MAX = RangeMethod(method="min-max")

SCHEMES = {
    "static": STATIC,
    "static, per tensor": but(STATIC, granularity="per-tensor"),
    "static, 7 bits": but(STATIC, reduce_range=True),
    "16 bits": WIDE,
    "dynamic": DYNAMIC,
    "dynamic, per tensor": but(DYNAMIC, granularity="per-tensor"),
    "dynamic, stochastic": but(DYNAMIC, rounding="stochastic", seed=7),
    "stored": STORED,
    "stored, asymmetric": but(STORED, symmetric_weights=False),
    "stored, asymmetric per tensor": but(STORED, symmetric_weights=False, granularity="per-tensor"),
    "mse": but(STORED, weight_ranges="mse"),
    "int4": Scheme(weights="int4"),
    "int4, asymmetric": Scheme(weights="int4", symmetric_weights=False),
    "int4, mse": Scheme(weights="int4", weight_ranges="mse"),
    "int4, gptq": Scheme(weights="int4", rounding="gptq"),
}


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def copied(path: Path, folder: Path) -> Path:
    return Path(shutil.copy(path, folder / "float.tflite"))


def assert_stored(quantized: Path, weight: str, operator: str, wanted: QuantizedWeights) -> None:
    stored = Stored(quantized)
    np.testing.assert_array_equal(to_layer(stored.integers(weight), operator), wanted.integers)
    np.testing.assert_array_equal(stored.scales(weight), wanted.scale.ravel())
    if wanted.block_size is None:
        np.testing.assert_array_equal(stored.zero_points(weight), wanted.zero_point.ravel())


@pytest.mark.parametrize("model", [CONVNET, DENSE_TFLITE], ids=["convolutions", "products"])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())
def test_the_file_holds_our_integers_and_scales(
    model: Path, scheme: Scheme, tmp_path: Path
) -> None:
    path = copied(model, tmp_path)
    known = statistics(path)
    quantized = made(path, scheme, known=known)
    checked = 0
    for layer in layers(path):
        if scheme.weights == "int4" and layer.is_depthwise:
            assert Stored(quantized).tensor(layer.weight).type == 0  # kept in float
            continue
        wanted = quantize_weights(layer.weights, scheme, covariance=known.covariance(layer.input))
        assert_stored(quantized, layer.weight, layer.operator, wanted)
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_blocks_hold_our_integers_with_scales_that_the_file_can_hold(
    size: int, rounding: str, tmp_path: Path
) -> None:
    graph = Graph()
    source = graph.input("x", [1, 256])
    hidden = graph.dense(source, graph.constant("w", normal(20, 256)), "h")
    path = graph.write(tmp_path / "m.tflite", hidden)
    known = statistics(path, inputs(path, 300))
    quantized = made(path, blocks(size, rounding=rounding), known=known)

    def in_bfloat16(scale: Array) -> Array:
        return scale.astype(bfloat16).astype(np.float16).astype(np.float32)

    (layer,) = layers(path)
    wanted = quantize_weights(
        layer.weights, blocks(size, rounding=rounding),
        covariance=known.covariance(layer.input), round_scale=in_bfloat16,
    )  # fmt: skip
    assert wanted.rounding == rounding and wanted.scale.shape == (20, 256 // size)
    assert_stored(quantized, "w", layer.operator, wanted)
    x = inputs(path, 1)[0][0]
    # Dynamic activations of 8 bits on top of the weights that we know.
    assert sqnr([x @ wanted.dequantized().T], run(quantized, x)) > 35


def test_gptq_beats_nearest_on_inputs_like_those_of_calibration(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 64])
    hidden = graph.dense(source, graph.constant("w", normal(32, 64)), "h")
    path = graph.write(tmp_path / "m.tflite", hidden)
    mixing = normal(8, 64, seed=5)
    samples = [
        [normal(1, 8, seed=i) @ mixing + 0.1 * normal(1, 64, seed=-i % 999)] for i in range(200)
    ]
    known = statistics(path, samples[:150])
    reached = {}
    for rounding in ("nearest", "gptq"):
        quantized = made(path, blocks(32, rounding=rounding), known=known)
        pairs = [(run(path, *s)[0], run(quantized, *s)[0]) for s in samples[150:]]
        reached[rounding] = sqnr([a for a, _ in pairs], [b for _, b in pairs])
    assert reached["gptq"] > reached["nearest"] + 3


@pytest.mark.parametrize("scheme", [STATIC, WIDE], ids=["8 bits", "16 bits"])
def test_biases_are_in_steps_of_input_and_weights(scheme: Scheme, tmp_path: Path) -> None:
    path = copied(DENSE_TFLITE, tmp_path)
    quantized = Stored(made(path, scheme))
    for node in quantized.graph.operators:
        if len(node.inputs) != 3:
            continue
        names = [quantized.graph.tensors[index].name.decode() for index in node.inputs]
        source, weights, bias = names
        layer = next(layer for layer in layers(path) if layer.weight == weights)
        step = quantized.scales(source) * quantized.scales(weights)
        np.testing.assert_allclose(quantized.scales(bias), step, rtol=1e-6)
        assert layer.bias is not None
        wanted = np.rint(layer.bias / step.astype(np.float64))
        np.testing.assert_allclose(quantized.integers(bias), wanted, atol=1)


def test_ranges_of_activations_are_those_of_the_statistics(tmp_path: Path) -> None:
    path = copied(DENSE_TFLITE, tmp_path)
    known = statistics(path)
    for method in (MIN_MAX, RangeMethod(percentile=95), RangeMethod(method="mse")):
        for symmetric in (False, True):
            scheme = but(STATIC, ranges=method, symmetric_activations=symmetric)
            stored = Stored(made(path, scheme, known=known))
            grid = Grid(8, True, symmetric)
            for layer in layers(path):
                scale, zero = grid.parameters(*known.range(layer.output, grid, method))
                assert stored.scales(layer.output) == [scale]
                assert stored.zero_points(layer.output) == [zero]


def test_16_bit_activations_are_symmetric(tmp_path: Path) -> None:
    path = copied(DENSE_TFLITE, tmp_path)
    known = statistics(path)
    stored = Stored(made(path, but(WIDE, ranges=MIN_MAX), known=known))
    for layer in layers(path):
        low, high = known.range(layer.output, Grid(16, True, True), MIN_MAX)
        assert stored.scales(layer.output) == np.float32(max(-low, high) / 32767)
        assert stored.zero_points(layer.output) == [0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    exponents=st.lists(st.integers(-12, 6), min_size=6, max_size=6),
    dead=st.lists(st.booleans(), min_size=6, max_size=6),
    biases=st.lists(st.floats(-50, 50, width=32), min_size=6, max_size=6),
    per_tensor=st.booleans(),
)
def test_a_static_product_is_as_exact_as_its_steps(
    seed: int, exponents: list[int], dead: list[bool], biases: list[float], per_tensor: bool
) -> None:
    """Channels of any magnitude, and of nothing, with biases that may dwarf them."""
    scales = np.array([0.0 if gone else 10.0**e for gone, e in zip(dead, exponents, strict=True)])
    weights = (normal(6, 8, seed=seed) * scales[:, None]).astype(np.float32)
    bias = np.array(biases, np.float32)
    graph = Graph()
    source = graph.input("x", [20, 8])
    graph.dense(source, graph.constant("w", weights), "y", graph.constant("b", bias))
    scheme = but(STATIC, ranges=MIN_MAX, granularity="per-tensor" if per_tensor else "per-channel")
    with tempfile.TemporaryDirectory() as folder:
        path = graph.write(Path(folder) / "m.tflite", 3)
        x = normal(20, 8, seed=seed + 1)
        quantized = made(path, scheme, known=statistics(path, [[x]]))
        stored, (found,) = Stored(quantized), run(quantized, x)
    step_in, step_out = float(stored.scales("x")[0]), float(stored.scales("y")[0])
    steps = stored.scales("w").astype(np.float64)
    # Half a step of each factor, of the bias, and of the output.
    allowed = 0.5 * step_in * np.abs(weights).sum(axis=1) + 0.5 * step_in * steps
    allowed = allowed + 0.5 * steps * (np.abs(x).sum(axis=1, keepdims=True) + 8 * step_in)
    assert (np.abs(found - (x @ weights.T + bias)) <= 1.02 * allowed + 1.01 * step_out).all()


def test_a_channel_of_zeros_keeps_its_bias(tmp_path: Path) -> None:
    weights = normal(4, 8)
    weights[1:3] = [[0.0] * 8, [1e-30] * 8]
    bias = np.array([1.0, 0.123, -0.77, 0], np.float32)
    graph = Graph()
    source = graph.input("x", [1, 8])
    graph.dense(source, graph.constant("w", weights), "y", graph.constant("b", bias))
    path = graph.write(tmp_path / "m.tflite", 3)
    for scheme in (STATIC, WIDE):
        (found,) = run(made(path, scheme), normal(1, 8))
        np.testing.assert_allclose(found[0, 1:3], bias[1:3], atol=0.05)


@pytest.mark.parametrize("scheme", [STATIC, WIDE, DYNAMIC, STORED, blocks()])
def test_weights_that_layers_share_stay_one_and_biases_do_not(
    scheme: Scheme, tmp_path: Path
) -> None:
    graph = Graph()
    weights = graph.constant("w", normal(32, 32) / 8)
    bias = graph.constant("b", normal(32, seed=1))
    hidden = graph.input("x", [1, 32])
    for name in ("first", "second", "third"):
        hidden = graph.dense(hidden, weights, name, bias, "RELU")
    path = graph.write(tmp_path / "m.tflite", hidden)
    quantized = made(path, scheme)
    assert quantized.stat().st_size < path.stat().st_size
    stored, is_static = Stored(quantized), scheme.is_static
    read = [{node.inputs[place] for node in stored.graph.operators if len(node.inputs) == 3}
            for place in (1, 2)]  # fmt: skip
    assert [len(each) for each in read] == [1, 3 if is_static else 1]
    x = inputs(path, 1)[0]
    assert sqnr(run(path, *x), run(quantized, *x)) > (15 if scheme.block_size else 28)


@pytest.mark.parametrize("scheme", [STATIC, WIDE, DYNAMIC, STORED, blocks()])
def test_nothing_but_zeros_works(scheme: Scheme, tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 32])
    zeros, ones = np.zeros((4, 32), np.float32), np.ones((4, 4), np.float32)
    hidden = graph.dense(source, graph.constant("w", zeros), "h")
    graph.dense(hidden, graph.constant("v", ones), "y")
    path = graph.write(tmp_path / "m.tflite", 4)
    nothing = [np.zeros((1, 32), np.float32)]
    quantized = made(path, scheme, known=statistics(path, [nothing] * 3))
    assert (run(quantized, *nothing)[0] == 0).all()
    if scheme.block_size is None:
        assert (Stored(quantized).scales("w") == 1).all()
    if scheme.is_static:
        assert all(Stored(quantized).scales(name) == 1 for name in "xhy")


def test_constant_activations_work(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 4])
    graph.dense(source, graph.constant("w", np.full((2, 4), 0.5, np.float32)), "y")
    path = graph.write(tmp_path / "m.tflite", 2)
    same = [np.full((1, 4), 3.0, np.float32)]
    quantized = made(path, STATIC, known=statistics(path, [same] * 3))
    np.testing.assert_allclose(run(quantized, *same)[0], 6.0, rtol=0.01)


def test_a_constant_batch_matmul(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [2, 3, 8])
    graph.node(
        "BATCH_MATMUL", [source, graph.constant("w", normal(2, 8, 5))], "y", [2, 3, 5],
        "BatchMatMulOptions",
    )  # fmt: skip
    path = graph.write(tmp_path / "m.tflite", 2)
    x = inputs(path, 1)[0]
    for scheme in (but(STATIC, granularity="per-tensor"), DYNAMIC, STORED):
        assert sqnr(run(path, *x), run(made(path, scheme), *x)) > 25
    with pytest.raises(UsageError, match="BATCH_MATMUL takes static weights per tensor only"):
        made(path, STATIC)


@pytest.mark.parametrize("scheme", [STATIC, WIDE, DYNAMIC, STORED])
def test_a_transposed_convolution(scheme: Scheme, tmp_path: Path) -> None:
    path = copied(CONVNET, tmp_path)
    x = inputs(path, 1)[0]
    quantized = made(path, Rule(operator="TRANSPOSE_CONV", scheme=scheme))
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_REF):
        found = run(quantized, *x, experimental_op_resolver_type=kernels)
        assert sqnr(run(path, *x), found) > 25


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    graph = Graph()
    broken = normal(3, 4)
    broken[1, 1] = np.nan
    graph.dense(graph.input("x", [1, 4]), graph.constant("broken", broken), "y")
    path = graph.write(tmp_path / "m.tflite", 2)
    with pytest.raises(UsageError, match="broken: weights are NaN or infinite"):
        apply(path, recipe(DYNAMIC), None, tmp_path / "quantized.tflite")
