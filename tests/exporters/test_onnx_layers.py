"""Layers of ONNX models: what they say is what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import FASHION, conv_net, normal, save_onnx
from onnx import helper
from onnx_making import Array, inputs, mlp, run

from edgewright.errors import UsageError
from edgewright.exporters.quantize.layers import Layer, LayerWeights
from edgewright.exporters.quantize.onnx import layers, operators, tap, with_weights


def recomputed(layer: Layer, values: Array) -> Array:
    """The layer's output by its own description."""
    if layer.convolution is None:
        product = values.astype(np.float64) @ layer.weights.astype(np.float64).T
    else:
        product = convolved(layer, values)
    if layer.bias is not None:
        shape = [1] * product.ndim
        shape[layer.channel_axis] = -1
        product += layer.bias.reshape(shape)
    return np.clip(product, *layer.bounds)


def convolved(layer: Layer, values: Array) -> Array:
    geometry = layer.convolution
    assert geometry is not None
    one_axis = values.ndim == 3
    images = (values[:, :, None] if one_axis else values).astype(np.float64)
    top, left, bottom, right = geometry.pads
    images = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    out, depth, high, wide = layer.weights.shape
    reach = [(k - 1) * d + 1 for k, d in zip((high, wide), geometry.dilations, strict=True)]
    places = [
        range(0, size - length + 1, stride)
        for size, length, stride in zip(images.shape[2:], reach, geometry.strides, strict=True)
    ]
    result = np.zeros((len(images), out, len(places[0]), len(places[1])))
    for channel in range(out):
        start = channel // (out // geometry.groups) * depth
        part = images[:, start : start + depth]
        for i, y in enumerate(places[0]):
            for j, x in enumerate(places[1]):
                patch = part[
                    :, :, y : y + reach[0] : geometry.dilations[0],
                    x : x + reach[1] : geometry.dilations[1],
                ]  # fmt: skip
                result[:, channel, i, j] = (patch * layer.weights[channel]).sum(axis=(1, 2, 3))
    return result[:, :, 0] if one_axis else result


def assert_true(path: Path, count: int) -> list[Layer]:
    found = layers(path)
    assert len(found) == count
    (sample,) = inputs(path, 1)
    seen = tap(path)(sample)
    for layer in found:
        expected = recomputed(layer, seen[layer.input])
        np.testing.assert_allclose(seen[layer.output], expected, rtol=1e-4, atol=1e-4)
    return found


def conv(path: Path, shape: tuple[int, ...], kernel: tuple[int, ...], **options: Any) -> Path:
    """x -> Conv -> Clip to ±1 -> y, where nothing is known of y."""
    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", **options),
            helper.make_node("Clip", ["c", "low", "high"], ["y"], name="clip"),
        ],
        {"x": list(shape)},
        {"y": [None] * len(shape)},  # type: ignore[list-item]
        w=normal(0, 1, *kernel)[0],
        b=normal(1, 1, kernel[0])[0],
        low=np.float32(-1),
        high=np.float32(1),
    )


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 3, 7, 9), (4, 3, 3, 2), {}),
        ((1, 3, 7, 9), (4, 3, 3, 3), {"pads": [1, 0, 2, 3], "strides": [2, 1]}),
        ((1, 4, 9, 9), (4, 1, 3, 3), {"group": 4, "dilations": [2, 3]}),
        ((1, 4, 6, 6), (6, 2, 3, 3), {"group": 2, "auto_pad": "VALID"}),
        ((1, 2, 7, 8), (3, 2, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
        ((1, 2, 7, 8), (3, 2, 2, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
        ((2, 3, 10), (4, 3, 4), {"pads": [2, 1], "strides": [2]}),
    ],
)
def test_convolutions_are_what_they_say(
    tmp_path: Path, shape: tuple[int, ...], kernel: tuple[int, ...], options: dict[str, Any]
) -> None:
    (layer,) = assert_true(conv(tmp_path / "c.onnx", shape, kernel, **options), 1)
    assert (layer.operator, layer.output, layer.bounds) == ("Conv", "y", (-1, 1))
    assert layer.weights.ndim == 4 and not layer.channels_last


def test_layers_of_whole_models_are_what_they_say(tmp_path: Path) -> None:
    convolutional = assert_true(conv_net(tmp_path / "conv.onnx"), 3)
    assert [(layer.name, layer.output) for layer in convolutional] == [
        ("conv1", "r1"), ("conv2", "r2"), ("dense", "y"),
    ]  # fmt: skip
    first, second = assert_true(mlp(tmp_path / "mlp.onnx"), 2)
    assert first.bounds == (0, np.inf) and first.weights.shape == (48, 64) and first.bias is None
    assert second.bounds == (-np.inf, np.inf) and second.weights.shape == (10, 48)
    assert_true(FASHION / "model.onnx", 7)


def test_a_bias_behind_a_product_is_the_layers(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "b.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
            helper.make_node("Add", ["b", "m"], ["a"], name="add"),
            helper.make_node("Relu", ["a"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "v"], ["n"], name="plain"),
            helper.make_node("Add", ["n", "r"], ["y"], name="residual"),
        ],
        {"x": [2, 3, 8]},
        {"y": [2, 3, 8]},
        w=normal(0, 1, 8, 8)[0],
        b=normal(1, 1, 1, 1, 8)[0],
        v=normal(2, 1, 8, 8)[0],
    )
    first, second = assert_true(path, 2)
    assert first.bias is not None and first.bias.shape == (8,) and first.output == "r"
    assert second.bias is None and second.output == "n"
    (sample,) = inputs(path, 1)
    assert set(tap(path)(sample)) == {"x", "r", "n", "y"}


def test_what_is_no_such_layer_is_left_out(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "o.onnx",
        [
            helper.make_node("Conv", ["x", "cube"], ["c"], name="three axes"),
            helper.make_node("Reshape", ["c", "square"], ["s"], name="reshape"),
            helper.make_node("MatMul", ["s", "s"], ["m"], name="of activations"),
            helper.make_node("Gemm", ["m", "w"], ["g"], name="scaled", alpha=0.5),
            helper.make_node("MatMul", ["w", "g"], ["h"], name="constant first"),
            helper.make_node("MatMul", ["h", "stack"], ["k"], name="batched"),
            helper.make_node("Reshape", ["k", "image"], ["i"], name="to image"),
            helper.make_node("ConvTranspose", ["i", "t"], ["y"], name="transposed"),
        ],
        {"x": [1, 1, 4, 4, 1]},
        {"y": [None] * 4},  # type: ignore[list-item]
        cube=normal(0, 1, 1, 1, 1, 1, 1)[0],
        square=np.array([4, 4]),
        w=normal(1, 1, 4, 4)[0],
        stack=normal(2, 1, 2, 4, 4)[0],
        image=np.array([1, 2, 4, 4]),
        t=normal(3, 1, 2, 3, 2, 2)[0],
    )
    assert layers(path) == []


def test_batch_normalization_is_folded_and_a_mean_is_a_pool(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "n.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
            helper.make_node("BatchNormalization", ["c", *"sbmv"], ["n"], name="norm"),
            helper.make_node("ReduceMean", ["n"], ["y"], name="mean", axes=[2, 3], keepdims=0),
        ],
        {"x": [1, 3, 6, 6]},
        {"y": [1, 4]},
        w=normal(0, 1, 4, 3, 3, 3)[0],
        s=normal(1, 1, 4)[0],
        b=normal(2, 1, 4)[0],
        m=normal(3, 1, 4)[0],
        v=np.abs(normal(4, 1, 4)[0]),
    )
    (layer,) = assert_true(path, 1)
    assert layer.bias is not None
    assert [operator.kind for operator in operators(path)] == [
        "Conv", "GlobalAveragePool", "Flatten",
    ]  # fmt: skip
    with_weights(path, {}, tmp_path / "copy.onnx")
    (sample,) = inputs(path, 1)
    np.testing.assert_allclose(
        run(path, sample), run(tmp_path / "copy.onnx", sample), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("model", ["conv", "mlp", "fashion"])
def test_a_copy_with_the_same_weights_is_the_same(tmp_path: Path, model: str) -> None:
    path = {
        "conv": lambda: conv_net(tmp_path / "m.onnx"),
        "mlp": lambda: mlp(tmp_path / "m.onnx"),
        "fashion": lambda: FASHION / "model.onnx",
    }[model]()
    before = layers(path)
    with_weights(
        path, {layer.name: LayerWeights(layer.weights, layer.bias) for layer in before},
        tmp_path / "copy.onnx",
    )  # fmt: skip
    after = layers(tmp_path / "copy.onnx")
    for one, other in zip(before, after, strict=True):
        assert (one.name, one.input, one.output) == (other.name, other.input, other.output)
        np.testing.assert_array_equal(one.weights, other.weights)
    (sample,) = inputs(path, 1)
    np.testing.assert_array_equal(run(path, sample), run(tmp_path / "copy.onnx", sample))
    onnx.checker.check_model(str(tmp_path / "copy.onnx"))


def shared(path: Path) -> Path:
    """Two convolutions and two products that share weights and biases."""
    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w", "b"], ["h"], name="one"),
            helper.make_node("Conv", ["h", "w", "b"], ["i"], name="two"),
            helper.make_node("MatMul", ["i", "v"], ["j"], name="three"),
            helper.make_node("Relu", ["j"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "v"], ["y"], name="four"),
        ],
        {"x": [1, 4, 4, 4]},
        {"y": [1, 4, 4, 4]},
        w=normal(0, 1, 4, 4, 1, 1)[0],
        b=normal(1, 1, 4)[0],
        v=normal(2, 1, 4, 4)[0],
    )


def test_other_weights_are_the_layers_alone(tmp_path: Path) -> None:
    path, copy = shared(tmp_path / "s.onnx"), tmp_path / "copy.onnx"
    before = layers(path)
    new = {
        "one": LayerWeights(before[0].weights * 2, before[0].bias),
        "three": LayerWeights(before[2].weights * 3, np.float32([1, 2, 3, 4])),
    }
    with_weights(path, new, copy)
    after = assert_true(copy, 4)
    for old, found in zip(before, after, strict=True):
        wanted = new.get(old.name, LayerWeights(old.weights, old.bias))
        np.testing.assert_array_equal(found.weights, wanted.weights)
        assert (found.bias is None) == (wanted.bias is None)
        if wanted.bias is not None:
            np.testing.assert_array_equal(found.bias, wanted.bias)
        assert (old.input, old.output) == (found.input, found.output)


@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
def test_a_layer_without_a_bias_gets_one(tmp_path: Path, operator: str) -> None:
    shape = (4, 4) if operator == "Gemm" else (4, 4, 1, 1)
    path = save_onnx(
        tmp_path / "n.onnx",
        [helper.make_node(operator, ["x", "w"], ["y"], name="it")],
        {"x": [1, *shape[1:]]},
        {"y": [1, *shape[1:]]},
        w=normal(0, 1, *shape)[0],
    )
    (layer,) = layers(path)
    bias = normal(1, 1, 4)[0]
    with_weights(path, {"it": LayerWeights(layer.weights, bias)}, tmp_path / "copy.onnx")
    (found,) = assert_true(tmp_path / "copy.onnx", 1)
    np.testing.assert_array_equal(found.bias, bias)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "c.onnx")
    (first, *_) = layers(path)
    destination = tmp_path / "copy.onnx"
    for weights, bias in (
        (first.weights[:4], None), (first.weights[:, :, :2], None), (first.weights, np.zeros(3)),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="layer conv1 has weights of shape"):
            with_weights(path, {"conv1": LayerWeights(weights, bias)}, destination)
    with pytest.raises(UsageError, match=r"c\.onnx has no layer relu1"):
        with_weights(path, {"relu1": LayerWeights(first.weights, None)}, destination)
    assert not destination.exists()
