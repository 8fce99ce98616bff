"""The layers read from TFLite files say what the runtime computes; copies hold what was asked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from models import DENSE_TFLITE, GOLDEN, TINY_TFLITE
from small_tflite import ACTIVATIONS, PADDINGS, Array, Graph, run

from edgewright.exporters.quantize.layers import Layer, LayerWeights
from edgewright.exporters.quantize.tflite import (
    layers,
    operators,
    output_names,
    tap,
    with_weights,
)

CONVNET = GOLDEN / "targets_conv_float.tflite"
BOUNDS = {"NONE": (-np.inf, np.inf), "RELU": (0, np.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sample(path: Path) -> dict[str, Array]:
    details = Interpreter(model_path=str(path)).get_input_details()
    return {str(i): normal(*detail["shape"], seed=i) for i, detail in enumerate(details)}


def recomputed(layer: Layer, x: Array) -> Array:
    """What a layer's fields say that it computes, in float64 and one product at a time."""
    weights = layer.weights.astype(np.float64)
    if layer.convolution is None:
        result = x @ weights.T
    else:
        geometry = layer.convolution
        top, left, bottom, right = geometry.pads
        padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
        dilated = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], geometry.dilations)]  # noqa: B905
        windows = np.lib.stride_tricks.sliding_window_view(padded, dilated, axis=(1, 2))
        (down, across), (dy, dx) = geometry.strides, geometry.dilations
        windows = windows[:, ::down, ::across, :, ::dy, ::dx]
        groups = geometry.groups
        by_group = windows.reshape(*windows.shape[:3], groups, -1, *windows.shape[4:])
        kernels = weights.reshape(groups, -1, *weights.shape[1:])
        result = np.einsum("nhwgiyx,goiyx->nhwgo", by_group, kernels)
        result = result.reshape(*result.shape[:3], -1)
    return np.clip(result + (0 if layer.bias is None else layer.bias), *layer.bounds)


def assert_layers_hold(path: Path, expected: int) -> list[Layer]:
    found = layers(path)
    assert len(found) == expected
    seen = tap(path)(sample(path))
    for layer in found:
        wanted = seen[layer.output]
        given = recomputed(layer, seen[layer.input])
        scale = max(float(np.abs(wanted).max()), 1.0)
        np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-5 * scale, err_msg=layer.name)
    return found


@pytest.mark.parametrize(("path", "count"), [(TINY_TFLITE, 2), (DENSE_TFLITE, 3), (CONVNET, 3)])
def test_layers_of_converted_models_compute_what_the_runtime_does(path: Path, count: int) -> None:
    found = assert_layers_hold(path, count)
    assert all(layer.channels_last and layer.name == layer.output for layer in found)


def test_a_depthwise_layer_has_a_group_for_each_channel() -> None:
    (depthwise,) = [layer for layer in layers(CONVNET) if layer.operator == "DEPTHWISE_CONV_2D"]
    assert depthwise.weights.shape == (8, 1, 3, 3)
    assert depthwise.is_depthwise and depthwise.input_channels == 8


@dataclass(frozen=True)
class Drawn:
    depthwise: bool
    channels: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    more: tuple[int, int]
    padding: str
    activation: str
    seed: int

    def write(self, path: Path) -> Path:
        """One convolution, of an input at least as large as its kernel."""
        width = self.channels * self.groups
        shape = [self.groups * self.outputs, *self.kernel, self.channels]
        name, options, values = "CONV_2D", "Conv2DOptions", {}
        if self.depthwise:
            width = self.channels
            shape = [1, *self.kernel, self.channels * self.outputs]
            name, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            values = {"depthMultiplier": self.outputs}
        made = shape[3] if self.depthwise else shape[0]
        reach = [(k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True)]
        size = [r + 1 + more for r, more in zip(reach, self.more, strict=True)]
        lost = [0, 0] if self.padding == "SAME" else reach
        result = [-(-(n - r) // s) for n, r, s in zip(size, lost, self.strides, strict=True)]
        graph = Graph()
        source = graph.input("x", [1, *size, width])
        weights = graph.constant("w", 3 * normal(*shape, seed=self.seed))
        bias = graph.constant("b", normal(made, seed=self.seed + 1))
        output = graph.node(
            name, [source, weights, bias], "y", [1, *result, made], options,
            padding=getattr(PADDINGS, self.padding),
            strideH=self.strides[0], strideW=self.strides[1],
            dilationHFactor=self.dilations[0], dilationWFactor=self.dilations[1],
            fusedActivationFunction=getattr(ACTIVATIONS, self.activation), **values,
        )  # fmt: skip
        return graph.write(path, output)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    depthwise = draw(st.booleans())
    strides = draw(pairs(1, 3))
    return Drawn(
        depthwise=depthwise,
        channels=draw(st.integers(1, 3)),
        outputs=draw(st.integers(1, 3)),
        groups=1 if depthwise else draw(st.integers(1, 2)),
        kernel=draw(pairs(1, 4)),
        strides=strides,
        dilations=draw(pairs(1, 2)) if strides == (1, 1) else (1, 1),
        more=draw(pairs(0, 5)),
        padding=draw(st.sampled_from(["SAME", "VALID"])),
        activation=draw(st.sampled_from(sorted(BOUNDS))),
        seed=draw(st.integers(0, 999)),
    )


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_any_convolution_is_read_as_it_computes(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (layer,) = assert_layers_hold(drawn.write(Path(folder) / "conv.tflite"), 1)
    assert layer.bounds == BOUNDS[drawn.activation]
    inputs = 1 if drawn.depthwise else drawn.channels
    assert layer.weights.shape[1:] == (inputs, *drawn.kernel)


def test_matrix_products_of_any_rank(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [2, 3, 8])
    hidden = graph.dense(
        source, graph.constant("w", normal(5, 8)), "h", graph.constant("b", normal(5)), "RELU6"
    )
    graph.dense(hidden, graph.constant("v", normal(4, 5)), "y")
    first, second = assert_layers_hold(graph.write(tmp_path / "m.tflite", 5), 2)
    assert (first.weight, first.input, first.output) == ("w", "x", "h")
    assert second.bias is None and first.convolution is None


def test_layers_of_which_nothing_can_be_said_are_left_out(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 2, 2, 3])
    # Flattened on the way in: its channels are not the input's.
    flat = graph.node(
        "FULLY_CONNECTED", [source, graph.constant("w", normal(4, 12)), -1], "flat", [1, 4],
        "FullyConnectedOptions",
    )  # fmt: skip
    tanh = graph.dense(flat, graph.constant("u", normal(3, 4)), "tanh", activation="TANH")
    computed = graph.input("weights", [2, 4])
    graph.dense(flat, computed, "computed")
    graph.dense(flat, graph.constant("v", normal(5, 4)), "kept")
    path = graph.write(tmp_path / "m.tflite", tanh)
    assert [layer.name for layer in layers(path)] == ["kept"]


def test_the_tap_gives_what_the_reference_kernels_compute() -> None:
    for path in (TINY_TFLITE, DENSE_TFLITE, CONVNET):
        inputs = sample(path)
        seen = tap(path)(inputs)
        reference = Interpreter(
            model_path=str(path),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        )
        reference.allocate_tensors()
        for detail, array in zip(reference.get_input_details(), inputs.values(), strict=True):
            reference.set_tensor(detail["index"], array)
        reference.invoke()
        details = {detail["name"]: detail["index"] for detail in reference.get_tensor_details()}
        for name, array in seen.items():
            wanted = reference.get_tensor(details[name])
            np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_tap_gives_inputs_and_results_but_no_constants(tmp_path: Path) -> None:
    graph = Graph()
    ids = graph.input("ids", [4], np.int32)
    scale = graph.input("scale", [4, 1])
    rows = graph.node(
        "EMBEDDING_LOOKUP", [ids, graph.constant("table", normal(9, 3))], "rows", [4, 3]
    )
    graph.node("MUL", [rows, scale], "y", [4, 3], "MulOptions")
    path = graph.write(tmp_path / "m.tflite", 4)
    run_tap = tap(path)
    for seed in (0, 1):
        inputs = {"0": np.array([8, 0, 1, 1], np.int32), "1": normal(4, 1, seed=seed)}
        seen = run_tap(inputs)
        assert set(seen) == {"scale", "rows", "y"}
        np.testing.assert_array_equal(seen["scale"], inputs["1"])
        np.testing.assert_allclose(seen["rows"] * inputs["1"], seen["y"], rtol=1e-6)
        assert all(array.dtype == np.float32 for array in seen.values())
    assert output_names(path) == ["y"]
    first, second = operators(path)
    assert (first.name, first.kind) == ("rows", "EMBEDDING_LOOKUP")
    assert first.inputs == ("ids", "table") and first.outputs == second.inputs[:1] == ("rows",)


def test_the_tap_takes_inputs_of_any_size_where_the_file_does() -> None:
    run_tap = tap(GOLDEN / "targets_conv_open.tflite")
    (layer,) = layers(GOLDEN / "targets_conv_open.tflite")
    for size in ((5, 7), (5, 7), (3, 4)):
        seen = run_tap({"0": normal(1, *size, 3)})
        assert seen[layer.output].shape == (1, *size, 8)
        # Without strides, half the kernel stands over at every side, whatever the size.
        wanted = recomputed(layer, seen[layer.input])
        np.testing.assert_allclose(seen[layer.output], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", [TINY_TFLITE, DENSE_TFLITE, CONVNET])
def test_a_copy_with_the_same_weights_computes_the_same(path: Path, tmp_path: Path) -> None:
    same = {layer.name: LayerWeights(layer.weights, layer.bias) for layer in layers(path)}
    with_weights(path, same, tmp_path / "copy.tflite")
    inputs = list(sample(path).values())
    for before, after in zip(run(path, *inputs), run(tmp_path / "copy.tflite", *inputs)):  # noqa: B905
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("path", [TINY_TFLITE, DENSE_TFLITE, CONVNET])
def test_a_copy_holds_the_weights_and_biases_asked_for(path: Path, tmp_path: Path) -> None:
    changed = {
        layer.name: LayerWeights(
            normal(*layer.weights.shape, seed=i), normal(len(layer.weights), seed=i + 50)
        )
        for i, layer in enumerate(layers(path))
    }
    copy = tmp_path / "copy.tflite"
    with_weights(path, changed, copy)
    found = assert_layers_hold(copy, len(changed))
    for before, after in zip(layers(path), found, strict=True):
        np.testing.assert_array_equal(after.weights, changed[after.name].weights)
        bias = changed[after.name].bias
        assert bias is not None and after.bias is not None
        np.testing.assert_array_equal(after.bias, bias)
        assert (after.input, after.output, after.bounds) == (
            before.input, before.output, before.bounds,
        )  # fmt: skip


def test_constants_that_others_read_stay_as_they_are(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 4])
    weights, bias = graph.constant("w", normal(4, 4)), graph.constant("b", normal(4))
    first = graph.dense(source, weights, "first", bias)
    second = graph.dense(first, graph.alias("w2", weights), "second", bias)
    path = graph.write(tmp_path / "m.tflite", graph.dense(second, weights, "third"))
    copy = tmp_path / "copy.tflite"
    new = LayerWeights(normal(4, 4, seed=9), normal(4, seed=8))
    with_weights(path, {"second": new}, copy)
    before, after = layers(path), layers(copy)
    for index in (0, 2):
        np.testing.assert_array_equal(before[index].weights, after[index].weights)
    np.testing.assert_array_equal(before[0].bias, after[0].bias)
    np.testing.assert_array_equal(after[1].weights, new.weights)
    np.testing.assert_array_equal(after[1].bias, new.bias)
    assert_layers_hold(copy, 3)


def test_only_what_changes_is_copied(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", [1, 64])
    weights = graph.constant("w", normal(64, 64))
    first = graph.dense(source, weights, "first")
    path = graph.write(tmp_path / "m.tflite", graph.dense(first, weights, "second"))
    copy = tmp_path / "copy.tflite"
    with_weights(path, {"second": LayerWeights(normal(64, 64), normal(64, seed=1))}, copy)
    assert copy.stat().st_size < path.stat().st_size + 1000
