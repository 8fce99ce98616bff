"""The screen of single layers against the same layers computed one by one in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from models import artifact, normal, save_onnx
from onnx import helper
from small_tflite import ACTIVATIONS, PADDINGS, Graph

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.quantize import screen as screen_module
from edgewright.exporters.quantize.apply import layers_of, tap_of
from edgewright.exporters.quantize.calibrate import channel_axes, collect
from edgewright.exporters.quantize.layers import Layer
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.exporters.quantize.screen import Screened, screen
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.quantize.weights import (
    QuantizedWeights,
    activation_grid,
    quantize_weights,
)

Doubles = npt.NDArray[np.float64]

STATIC = Scheme(weights="int8", activations="uint8", granularity="per-tensor")
SIGNED = Scheme(weights="int8", activations="int8")
DYNAMIC = Scheme(weights="int8", activations="dynamic")


def convolved(x: Doubles, layer: Layer, weights: Doubles) -> Doubles:
    """A convolution by its definition: channels first, one kernel position at a time."""
    geometry = layer.convolution
    assert geometry is not None
    top, left, bottom, right = geometry.pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    out, per_group, height, width = weights.shape
    dilations, strides = geometry.dilations, geometry.strides
    rows = (x.shape[2] - (height - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (x.shape[3] - (width - 1) * dilations[1] - 1) // strides[1] + 1
    found = np.zeros((len(x), out, rows, columns))
    per_out = out // geometry.groups
    for channel in range(out):
        first = channel // per_out * per_group
        for i in range(height):
            for j in range(width):
                y, z = i * dilations[0], j * dilations[1]
                part = x[
                    :,
                    first : first + per_group,
                    y : y + rows * strides[0] : strides[0],
                    z : z + columns * strides[1] : strides[1],
                ]
                found[:, channel] += np.einsum("nchw,c->nhw", part, weights[channel, :, i, j])
    return found


def answer(x: npt.NDArray[np.float32], layer: Layer, weights: npt.NDArray[np.float32]) -> Doubles:
    """The layer's output, with other weights perhaps."""
    wide, kernel = x.astype(np.float64), weights.astype(np.float64)
    bias = np.zeros(len(weights)) if layer.bias is None else layer.bias.astype(np.float64)
    if layer.convolution is None:
        found = wide @ kernel.T + bias
    else:
        if wide.ndim == 3:
            wide = wide[:, :, None]
        if layer.channels_last:
            wide = wide.transpose(0, 3, 1, 2)
        found = convolved(wide, layer, kernel) + bias[:, None, None]
    return np.clip(found, *layer.bounds)


def expected(
    layer: Layer,
    scheme: Scheme,
    quantized: QuantizedWeights,
    seen: list[npt.NDArray[np.float32]],
    statistics: Statistics,
) -> Screened:
    signal = of_weights = of_inputs = 0.0
    for x in seen:
        exact = answer(x, layer, layer.weights)
        signal += float(np.sum(exact**2))
        of_weights += float(np.sum((exact - answer(x, layer, quantized.dequantized())) ** 2))
        if scheme.is_static:
            assert scheme.ranges is not None
            grid = activation_grid(scheme)
            parameters = grid.parameters(*statistics.range(layer.input, grid, scheme.ranges))
            rounded = grid.dequantize(grid.quantize(x, *parameters), *parameters)
            of_inputs += float(np.sum((exact - answer(rounded, layer, layer.weights)) ** 2))
    decibel = [10 * np.log10(signal / n) if n else None for n in (of_weights, of_inputs)]
    return Screened(*decibel)


def compare(
    model: Artifact, samples: list[dict[str, npt.NDArray[np.float32]]], scheme: Scheme
) -> dict[str, Layer]:
    layers, tap = layers_of(model), tap_of(model)
    statistics = collect(
        tap, samples, Origin(model.format, model.sha256, "", ""), Collected(channel_axes(layers))
    )
    chosen = [(layer, scheme, quantize_weights(layer.weights, scheme)) for layer in layers]
    done: list[int] = []
    found = screen(chosen, samples, tap, statistics, done.append)
    assert done == list(range(1, len(samples) + 1))
    assert list(found) == [layer.name for layer in layers]
    seen = [tap(sample) for sample in samples]
    for layer, _, quantized in chosen:
        inputs = [np.asarray(values[layer.input], np.float32) for values in seen]
        wanted = expected(layer, scheme, quantized, inputs, statistics)
        mine = found[layer.name]
        assert mine.weights_db == pytest.approx(wanted.weights_db, abs=0.02), layer.name
        if scheme.is_static:
            # A float32 division can round a half the other way.
            assert mine.activations_db == pytest.approx(wanted.activations_db, abs=0.1), layer.name
        else:
            assert mine.activations_db is None
    return {layer.name: layer for layer in layers}


def weights(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    return normal(seed, 1, *shape)[0] / np.float32(np.sqrt(np.prod(shape[1:])))


def onnx_net(path: Path) -> Artifact:
    """Every geometry: padded, strided, grouped, dilated, one kernel 1x1, clipped, and a product."""
    nodes = [
        helper.make_node(
            "Conv", ["x", "w1", "b1"], ["c1"], "stem", pads=[1, 0, 2, 1], strides=[2, 1]
        ),
        helper.make_node("Clip", ["c1", "zero", "one"], ["r1"], "clip"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "depthwise", group=8, pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], "relu"),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], "grouped", group=2, dilations=[2, 2]),
        helper.make_node("Conv", ["c3", "w4"], ["c4"], "pointwise"),
        helper.make_node("GlobalAveragePool", ["c4"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w5", "b5"], ["d"], "gemm", transB=1),
        helper.make_node("MatMul", ["d", "w6"], ["y"], "product"),
    ]
    return artifact(
        save_onnx(
            path, nodes, {"x": [1, 3, 12, 11]}, {"y": [1, 4]},
            w1=weights(1, 8, 3, 3, 2), b1=weights(2, 8, 1).ravel(), zero=np.float32(0),
            one=np.float32(0.4), w2=weights(3, 8, 1, 3, 3), b2=weights(4, 8, 1).ravel(),
            w3=weights(5, 6, 4, 2, 2), w4=weights(6, 10, 6, 1, 1), w5=weights(7, 7, 10),
            b5=weights(8, 7, 1).ravel(), w6=weights(9, 7, 4),
        )
    )  # fmt: skip


def tflite_net(path: Path) -> Artifact:
    """Channels last: 'same' padding that differs before and after, depthwise, ReLU6, flattening."""
    graph = Graph()
    x = graph.input("x", [1, 9, 8, 3])
    geometry = dict(strideH=2, strideW=2, dilationHFactor=1, dilationWFactor=1)
    first = graph.node(
        "CONV_2D",
        [x, graph.constant("w1", weights(1, 8, 3, 3, 3)), graph.constant("b1", weights(2, 8, 1))],
        "stem", [1, 5, 4, 8], "Conv2DOptions", padding=PADDINGS.SAME,
        fusedActivationFunction=ACTIVATIONS.RELU6, **geometry,
    )  # fmt: skip
    second = graph.node(
        "DEPTHWISE_CONV_2D",
        [first, graph.constant("w2", weights(3, 1, 3, 3, 8)), graph.constant("b2", weights(4, 8))],
        "depthwise", [1, 2, 1, 8], "DepthwiseConv2DOptions", padding=PADDINGS.VALID,
        depthMultiplier=1, fusedActivationFunction=ACTIVATIONS.NONE, **geometry,
    )  # fmt: skip
    third = graph.dense(second, graph.constant("w3", weights(5, 6, 8)), "dense", activation="RELU")
    return artifact(graph.write(path, third))


NETS: dict[str, Callable[[Path], Artifact]] = {"onnx": onnx_net, "tflite": tflite_net}


@pytest.mark.parametrize("scheme", [STATIC, SIGNED, DYNAMIC], ids=["u8", "s8", "dynamic"])
@pytest.mark.parametrize("model_format", NETS)
def test_each_layer_is_what_it_is_by_itself(
    model_format: str, scheme: Scheme, tmp_path: Path
) -> None:
    model = NETS[model_format](tmp_path / f"net.{model_format}")
    shape = model.inputs[0].spec.shape
    key = "x" if model_format == "onnx" else "0"
    samples = [{key: array} for array in normal(3, 5, *[size or 1 for size in shape])]
    layers = compare(model, samples, scheme)
    assert len(layers) == (6 if model_format == "onnx" else 3)
    assert np.float32(0.4 if model_format == "onnx" else 6) in [
        np.float32(layer.bounds[1]) for layer in layers.values()
    ]


def test_an_input_that_layers_of_different_kinds_share(tmp_path: Path) -> None:
    """A convolution over one axis and a matrix product read the same tensor."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "along", pads=[1, 1]),
        helper.make_node("Conv", ["x", "w3"], ["c"], "again"),
        helper.make_node("MatMul", ["x", "w2"], ["b"], "across"),
    ]
    path = save_onnx(
        tmp_path / "shared.onnx", nodes, {"x": [1, 4, 9]},
        {"a": [1, 5, 9], "b": [1, 4, 6], "c": [1, 2, 9]},
        w1=weights(1, 5, 4, 3), w2=weights(2, 9, 6), w3=weights(3, 2, 4, 1),
    )  # fmt: skip
    compare(artifact(path), [{"x": x} for x in normal(4, 3, 1, 4, 9)], STATIC)


def test_layers_that_lose_nothing_have_no_level(tmp_path: Path) -> None:
    """Weights and inputs that the grid holds exactly, and a layer that gives only zeros."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], "exact"),
        helper.make_node("MatMul", ["h", "w2"], ["y"], "zeros"),
    ]
    exact = np.asarray([[127, -127], [64, 1]], np.float32)
    path = save_onnx(
        tmp_path / "exact.onnx", nodes, {"x": [1, 2]}, {"y": [1, 3]},
        w1=exact, w2=np.zeros((2, 3), np.float32),
    )  # fmt: skip
    model = artifact(path)
    layers, tap = layers_of(model), tap_of(model)
    samples = [{"x": np.asarray([[255, 0]], np.float32)}, {"x": np.asarray([[3, 17]], np.float32)}]
    statistics = collect(tap, samples, Origin("onnx", model.sha256, "", ""), Collected())
    whole = Scheme.model_validate({**STATIC.model_dump(), "ranges": {"method": "min-max"}})
    chosen = [(layer, whole, quantize_weights(layer.weights, whole)) for layer in layers]
    found = screen(chosen, samples, tap, statistics)
    assert found == {"exact": Screened(None, None), "zeros": Screened(None, None)}


def test_large_models_are_screened_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx_net(tmp_path / "net.onnx")
    layers, tap = layers_of(model), tap_of(model)
    chosen = [(layer, DYNAMIC, quantize_weights(layer.weights, DYNAMIC)) for layer in layers]
    samples = [{"x": x} for x in normal(3, 2, 1, 3, 12, 11)]
    whole = screen(chosen, samples, tap, None)
    monkeypatch.setattr(screen_module, "_CHUNK_BYTES", 600)
    assert screen(chosen, samples, tap, None) == whole


def test_nothing_to_screen(tmp_path: Path) -> None:
    assert screen([], [{"x": normal(0, 1, 1, 3, 12, 11)[0]}], lambda sample: {}, None) == {}
