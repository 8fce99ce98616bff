"""Cross-layer equalization: the same outputs from weights that one grid holds better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx as onnx_file
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import normal, save_onnx
from onnx import helper

from edgewright.exporters.quantize import onnx
from edgewright.exporters.quantize.calibrate import channel_axes, collect
from edgewright.exporters.quantize.equalize import Pair, channel_factors, equalize, find_pairs
from edgewright.exporters.quantize.layers import Layer, LayerWeights
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.quantize.weights import quantize_weights

ORIGIN = Origin("onnx", "a model", "data", "data")
SAMPLES = normal(1, 6, 1, 3, 12, 12)
PER_TENSOR = Scheme(weights="int8", granularity="per-tensor")


def mobile_net(path: Path, *, clip: float = 6.0, spread: float = 1.0) -> Path:
    """x 1x3x12x12 -> conv 3x3 -> 1x1 -> depthwise -> 1x1, ReLU6 between -> mean -> dense -> y 1x5.

    The channels between two layers are larger or smaller by up to exp(spread), and the second layer
    takes that back.
    """
    generator = np.random.default_rng(2)

    def weights(*shape: int) -> np.ndarray:
        fan_in = float(np.prod(shape[1:]))
        return generator.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(fan_in))

    def clipped(name: str) -> onnx_file.NodeProto:
        nodes = [f"c{name}", "zero", "six"]
        return helper.make_node("Clip", nodes, [f"r{name}"], name=f"clip{name}")

    constants = {
        "w1": weights(8, 3, 3, 3),
        "w2": weights(16, 8, 1, 1),
        "w3": weights(16, 1, 3, 3),
        "w4": weights(8, 16, 1, 1),
        "w5": weights(12, 8),
        "w6": weights(5, 12),
        **{f"b{i}": weights(n, 1).ravel() for i, n in enumerate((8, 16, 16, 8, 12, 5), 1)},
    }
    for first, second in (1, 2), (2, 3), (3, 4), (5, 6):
        size = len(constants[f"b{first}"])
        scale = np.exp(generator.uniform(-spread, spread, size)).astype(np.float32)
        ones = (1,) * (constants[f"w{first}"].ndim - 2)
        constants[f"w{first}"] *= scale.reshape(-1, 1, *ones)
        constants[f"b{first}"] *= scale
        shape = (-1, 1, *ones) if second == 3 else (1, -1, *ones)
        constants[f"w{second}"] /= scale.reshape(shape)
    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="stem", pads=[1] * 4),
            clipped("1"),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="expand"),
            clipped("2"),
            helper.make_node(
                "Conv", ["r2", "w3", "b3"], ["c3"], name="depthwise", group=16, pads=[1] * 4
            ),
            clipped("3"),
            helper.make_node("Conv", ["r3", "w4", "b4"], ["c4"], name="project"),
            helper.make_node("GlobalAveragePool", ["c4"], ["g"], name="pool"),
            helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "w5", "b5"], ["h"], name="dense", transB=1),
            helper.make_node("Relu", ["h"], ["i"], name="relu"),
            helper.make_node("Gemm", ["i", "w6", "b6"], ["y"], name="last", transB=1),
        ],
        {"x": [1, 3, 12, 12]},
        {"y": [1, 5]},
        zero=np.array(0, np.float32),
        six=np.array(clip, np.float32),
        **constants,
    )


def outputs(path: Path, samples: list[np.ndarray]) -> np.ndarray:
    run = onnx.tap(path)
    return np.stack([run({"x": sample})["y"] for sample in samples])


def statistics(path: Path, layers: list[Layer]) -> Statistics:
    collected = Collected(channel_axes=channel_axes(layers))
    return collect(onnx.tap(path), ({"x": sample} for sample in SAMPLES), ORIGIN, collected)


def consumers(path: Path) -> Mapping[str, int]:
    graph = onnx_file.load(str(path)).graph
    read = Counter(name for node in graph.node for name in node.input)
    read.update(output.name for output in graph.output)
    return read


def quantized(layers: list[Layer], scheme: Scheme) -> dict[str, LayerWeights]:
    return {
        layer.name: LayerWeights(quantize_weights(layer.weights, scheme).dequantized(), layer.bias)
        for layer in layers
    }


def test_pairs_of_a_mobile_net(tmp_path: Path) -> None:
    path = mobile_net(tmp_path / "net.onnx")
    assert find_pairs(onnx.layers(path), consumers(path)) == (
        Pair("stem", "expand"),
        Pair("expand", "depthwise"),
        Pair("depthwise", "project"),
        Pair("dense", "last"),
    )


@pytest.mark.parametrize("clip", [2.0, 6.0, 1e3])
def test_float_outputs_stay_the_same_on_the_calibration_data(tmp_path: Path, clip: float) -> None:
    path = mobile_net(tmp_path / "net.onnx", clip=clip)
    layers = onnx.layers(path)
    pairs = find_pairs(layers, consumers(path))
    changed = equalize(layers, pairs, statistics(path, layers))
    assert set(changed) == {"stem", "expand", "depthwise", "project", "dense", "last"}
    onnx.with_weights(path, changed, tmp_path / "equalized.onnx")
    before, after = outputs(path, SAMPLES), outputs(tmp_path / "equalized.onnx", SAMPLES)
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    assert any(np.any(changed[x.name].weights != x.weights) for x in layers)


def test_channels_that_reach_the_bound_keep_their_scale(tmp_path: Path) -> None:
    path = mobile_net(tmp_path / "net.onnx", clip=2.0)
    layers = onnx.layers(path)
    known = statistics(path, layers)
    factors = channel_factors(layers, find_pairs(layers, consumers(path)), known)
    touched = 0
    for tensor in ("r1", "r2", "r3"):
        greatest = known.channel_maxima(tensor)
        assert np.all(factors[tensor][greatest >= 2.0] == 1)
        assert np.all((greatest * factors[tensor])[greatest < 2.0] < 2.0)
        touched += int(np.sum(factors[tensor] != 1))
    assert touched > 5


def test_statistics_scaled_by_the_factors_are_those_of_the_new_model(tmp_path: Path) -> None:
    path = mobile_net(tmp_path / "net.onnx")
    layers = onnx.layers(path)
    known, pairs = statistics(path, layers), find_pairs(layers, consumers(path))
    onnx.with_weights(path, equalize(layers, pairs, known), tmp_path / "equalized.onnx")
    measured = statistics(tmp_path / "equalized.onnx", onnx.layers(tmp_path / "equalized.onnx"))
    for tensor, factor in channel_factors(layers, pairs, known).items():
        np.testing.assert_allclose(
            measured.channel_maxima(tensor), known.channel_maxima(tensor) * factor, rtol=1e-4
        )


def test_per_tensor_weights_of_a_badly_scaled_net_lose_less(tmp_path: Path) -> None:
    path = mobile_net(tmp_path / "net.onnx", clip=1e6, spread=3.0)
    layers = onnx.layers(path)
    changed = equalize(layers, find_pairs(layers, consumers(path)), statistics(path, layers))
    onnx.with_weights(path, changed, tmp_path / "equalized.onnx")

    wanted = outputs(path, SAMPLES)
    noise = []
    for model in (path, tmp_path / "equalized.onnx"):
        onnx.with_weights(model, quantized(onnx.layers(model), PER_TENSOR), tmp_path / "q.onnx")
        noise.append(float(np.sum((outputs(tmp_path / "q.onnx", SAMPLES) - wanted) ** 2)))
    assert noise[1] < 0.1 * noise[0]


def matrix_layers(seed: int, sizes: list[int], bounds: tuple[float, float]) -> list[Layer]:
    """A chain of matrix products t0 -> t1 -> ..., badly scaled."""
    generator = np.random.default_rng(seed)
    found = []
    for number, (inputs, width) in enumerate(pairwise(sizes)):
        scales = np.exp(generator.normal(size=(width, 1)) * 2)
        found.append(
            Layer(
                name=f"layer{number}",
                operator="MatMul",
                input=f"t{number}",
                output=f"t{number + 1}",
                weight=f"w{number}",
                weights=(generator.normal(size=(width, inputs)) * scales).astype(np.float32),
                bias=generator.normal(size=width).astype(np.float32),
                convolution=None,
                channels_last=True,
                bounds=bounds,
            )
        )
    return found


def run_chain(layers: list[Layer], x: np.ndarray) -> dict[str, np.ndarray]:
    seen = {layers[0].input: x.astype(np.float64)}
    for layer in layers:
        assert layer.bias is not None
        product = seen[layer.input] @ layer.weights.T.astype(np.float64) + layer.bias
        seen[layer.output] = np.clip(product, *layer.bounds)
    return seen


CHAINS = st.lists(st.integers(1, 6), min_size=3, max_size=5)
BOUNDS = st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), CHAINS, BOUNDS)
def test_a_chain_computes_the_same_and_has_equal_ranges_where_nothing_clips(
    seed: int, sizes: list[int], bounds: tuple[float, float]
) -> None:
    layers = matrix_layers(seed, sizes, bounds)
    x = np.random.default_rng(seed).normal(size=(20, sizes[0])).astype(np.float32)
    before = run_chain(layers, x)
    axes = Collected(channel_axes=channel_axes(layers))
    seen = {name: array.astype(np.float32) for name, array in before.items()}
    known = collect(lambda sample: sample, [seen], ORIGIN, axes)
    pairs = find_pairs(layers, dict.fromkeys(before, 1))
    assert len(pairs) == len(layers) - 1

    changed = equalize(layers, pairs, known)

    made = [replace(x, weights=changed[x.name].weights, bias=changed[x.name].bias) for x in layers]
    last = layers[-1].output
    after = run_chain(made, x)
    np.testing.assert_allclose(
        after[last], before[last], rtol=1e-4, atol=1e-5 * (1 + np.abs(before[last]).max())
    )
    if np.isinf(bounds[1]):
        for first, second in pairwise(made):
            np.testing.assert_allclose(
                np.abs(first.weights).max(axis=1), np.abs(second.weights).max(axis=0), rtol=0.01
            )


def test_a_channel_that_nothing_reads_keeps_its_scale() -> None:
    first, second = matrix_layers(0, [3, 4, 2], (0.0, np.inf))
    first.weights[1], second.weights[:, 2] = 0, 0
    known = collect(lambda s: s, [{"t0": np.ones((1, 3), np.float32)}], ORIGIN, Collected())
    factors = channel_factors([first, second], [Pair("layer0", "layer1")], known)["t1"]
    assert factors[1] == factors[2] == 1
    assert np.all(np.isfinite(factors)) and np.all(factors > 0)


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_more_than_one_channel(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        scales = np.exp(generator.normal(size=(shape[0], 1, 1, 1)) * 2)
        return (generator.normal(size=shape) * scales).astype(np.float32)

    path = save_onnx(
        tmp_path / "grouped.onnx",
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first"),
            helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], name="grouped", group=3),
            helper.make_node("Conv", ["c2", "w3"], ["y"], name="last"),
        ],
        {"x": [1, 3, 12, 12]},
        {"y": [1, 4, 10, 10]},
        w1=weights(6, 3, 1, 1),
        b1=generator.normal(size=6).astype(np.float32),
        w2=weights(9, 2, 3, 3),
        w3=weights(4, 9, 1, 1),
    )
    layers = onnx.layers(path)
    changed = equalize(layers, find_pairs(layers, consumers(path)), statistics(path, layers))
    onnx.with_weights(path, changed, tmp_path / "equalized.onnx")
    before, after = outputs(path, SAMPLES), outputs(tmp_path / "equalized.onnx", SAMPLES)
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    ranges = [np.abs(changed[x].weights) for x in ("first", "grouped", "last")]
    per_group = ranges[1].reshape(3, 3, 2, -1).max(axis=(1, 3)).ravel()
    np.testing.assert_allclose(ranges[0].max(axis=(1, 2, 3)), per_group, rtol=0.01)
    np.testing.assert_allclose(
        ranges[1].max(axis=(1, 2, 3)), ranges[2].max(axis=(0, 2, 3)), rtol=0.01
    )


def test_what_is_no_pair() -> None:
    first, second = matrix_layers(0, [3, 4, 2], (0.0, np.inf))
    once = {"t1": 1, "t2": 1}
    assert find_pairs([first, second], once) == (Pair("layer0", "layer1"),)
    assert find_pairs([first, second], {**once, "t1": 2}) == ()  # read twice
    assert find_pairs([first, replace(second, weight="w0")], once) == ()  # tied weights
    assert find_pairs([replace(first, bounds=(1.0, 6.0)), second], once) == ()  # f(0) is not 0
    assert find_pairs([replace(first, channels_last=False), second], once) == ()
    assert find_pairs([first, replace(second, weights=second.weights[:, :2])], once) == ()
