"""Bias correction: quantized weights leave the mean of the output where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import conv_net, normal

from edgewright.exporters.quantize import onnx
from edgewright.exporters.quantize.bias_correction import corrected_bias
from edgewright.exporters.quantize.layers import Convolution, Layer, LayerWeights
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.exporters.quantize.weights import quantize_weights


def layer(weights: np.ndarray, bias: np.ndarray | None, groups: int | None) -> Layer:
    convolution = None if groups is None else Convolution((1, 1), (0, 0, 0, 0), (1, 1), groups)
    return Layer(
        name="layer",
        operator="MatMul" if groups is None else "Conv",
        input="x",
        output="y",
        weight="w",
        weights=weights,
        bias=bias,
        convolution=convolution,
        channels_last=groups is None,
    )


def mean_output(weights: np.ndarray, means: np.ndarray, groups: int) -> np.ndarray:
    """What a convolution gives away from the borders when each pixel is its channel's mean."""
    outputs, inputs = weights.shape[:2]
    found = np.zeros(outputs)
    for output in range(outputs):
        group = output // (outputs // groups)
        for channel in range(inputs):
            for weight in weights[output, channel].ravel():
                found[output] += float(weight) * means[group * inputs + channel]
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.sampled_from([None, 1, 2, 4]),
    outputs=st.sampled_from([4, 8]),
    inputs=st.integers(1, 3),
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 5)]),
    has_bias=st.booleans(),
)
def test_the_mean_output_is_that_of_the_float_weights(
    seed: int,
    groups: int | None,
    outputs: int,
    inputs: int,
    kernel: tuple[int, int],
    has_bias: bool,
) -> None:
    generator = np.random.default_rng(seed)
    shape = (outputs, inputs) if groups is None else (outputs, inputs, *kernel)
    weights = generator.normal(size=shape).astype(np.float32)
    bias = generator.normal(size=outputs).astype(np.float32) if has_bias else None
    means = generator.normal(size=inputs * (groups or 1))
    dequantized = quantize_weights(weights, Scheme(weights="int4")).dequantized()

    found = corrected_bias(layer(weights, bias, groups), dequantized, means)

    assert found.dtype == np.float32 and found.shape == (outputs,)
    before = mean_output(weights, means, groups or 1) + (0 if bias is None else bias)
    after = mean_output(dequantized, means, groups or 1) + found
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_exact_weights_need_no_correction() -> None:
    weights = np.ones((3, 2), np.float32)
    bias = np.array([1, 2, 3], np.float32)
    found = corrected_bias(layer(weights, bias, None), weights, np.array([5.0, -7.0]))
    np.testing.assert_array_equal(found, bias)


@pytest.mark.parametrize("count", [1, 3])
def test_means_of_another_number_of_channels_are_refused(count: int) -> None:
    weights = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="reshape"):
        corrected_bias(layer(weights, None, None), weights, np.zeros(count))


def test_a_real_net_keeps_its_mean_output(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "net.onnx")
    samples = [x + 1 for x in normal(3, 40, 1, 3, 12, 12)]

    def output_means(model: Path) -> np.ndarray:
        run = onnx.tap(model)
        return np.mean([run({"x": x})["y"] for x in samples], axis=0)

    # A matrix product has no border: its correction is exact.
    last = onnx.layers(path)[-1]
    assert last.convolution is None
    seen = onnx.tap(path)
    means = np.mean([np.ravel(seen({"x": x})[last.input]) for x in samples], axis=0)
    rounded = quantize_weights(last.weights, Scheme(weights="int4")).dequantized()
    corrected = corrected_bias(last, rounded, means.astype(np.float64))

    errors = []
    for bias in (last.bias, corrected):
        destination = tmp_path / f"{len(errors)}.onnx"
        onnx.with_weights(path, {last.name: LayerWeights(rounded, bias)}, destination)
        errors.append(np.abs(output_means(destination) - output_means(path)).max())
    assert errors[1] < 1e-5 < 1e-2 * errors[0]
