"""Weights as integers: what a scheme asks for, and no error larger than it must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewright.errors import UsageError
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.exporters.quantize.weights import (
    QuantizedWeights,
    can_use_gptq,
    quantize_weights,
    weight_grid,
)

TINY = float(np.finfo(np.float32).tiny)
#: float32 scales, and reals rounded to float32 on the way back.
SLACK = 1e-5

SCHEMES = st.one_of(
    st.builds(
        Scheme,
        weights=st.sampled_from(["int8", "uint8", "int4"]),
        granularity=st.sampled_from(["per-tensor", "per-channel"]),
        symmetric_weights=st.booleans(),
    ),
    st.builds(
        Scheme,
        weights=st.sampled_from(["int8", "int4"]),
        granularity=st.just("blockwise"),
        block_size=st.sampled_from([32, 64]),
        symmetric_weights=st.booleans(),
    ),
    st.builds(Scheme, weights=st.just("int8"), reduce_range=st.just(True)),
)


def matrices(columns: int = 80) -> st.SearchStrategy[np.ndarray]:
    """Weights of every magnitude; some rows and columns of them are spoilt."""
    ordinary = hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, columns)),
        elements=st.floats(-8, 8, width=32),
        fill=st.floats(-1, 1, width=32),
    )
    return st.builds(spoilt, ordinary, st.sampled_from(["", "zero", "constant", "outlier",
                     "negative", "subnormal"]))  # fmt: skip


def spoilt(weights: np.ndarray, how: str) -> np.ndarray:
    found = weights.copy()
    if how == "zero":
        found[0] = 0
    elif how == "constant":
        found[0] = 0.3
    elif how == "outlier":
        found[0, 0] = 1e4
    elif how == "negative":
        found = -np.abs(found)
    elif how == "subnormal":
        found *= np.float32(1e-40)
    return found


def groups(weights: np.ndarray, scheme: Scheme) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The weights that share a scale, and where that scale stands."""
    if scheme.granularity == "per-tensor":
        yield (0,), weights.ravel()
        return
    for channel, row in enumerate(weights.reshape(len(weights), -1)):
        if scheme.block_size is None:
            yield (channel,), row
            continue
        for block, start in enumerate(range(0, row.size, scheme.block_size)):
            yield (channel, block), row[start : start + scheme.block_size]


def plainly_rounded(row: np.ndarray, scale: float, zero_point: int, scheme: Scheme) -> list[float]:
    """The nearest reals of the grid, one weight at a time, by search."""
    grid = weight_grid(scheme)
    reals = [(i - zero_point) * scale for i in range(grid.lowest, grid.highest + 1)]
    return [min(reals, key=lambda real: abs(real - float(weight))) for weight in row]


@settings(max_examples=60, deadline=None)
@given(matrices(), SCHEMES)
def test_every_weight_goes_to_the_nearest_real_of_its_grid(
    weights: np.ndarray, scheme: Scheme
) -> None:
    found = quantize_weights(weights, scheme)
    scales = dict(groups(weights, scheme))
    assert found.scale.shape == found.zero_point.shape
    assert found.scale.size == len(scales)
    assert found.scale.dtype == np.float32 and found.dequantized().dtype == np.float32
    reals = dict(groups(found.dequantized(), scheme))
    for place, row in scales.items():
        scale, zero_point = float(found.scale[place]), int(found.zero_point[place])
        expected = plainly_rounded(row, scale, zero_point, scheme)
        error = np.abs(reals[place].astype(np.float64) - row)
        least = np.abs(np.array(expected) - row)
        assert np.all(error <= least + SLACK * np.abs(row) + SLACK * scale)


@settings(max_examples=60, deadline=None)
@given(matrices(), SCHEMES)
def test_ranges_from_the_extremes_cut_nothing_off(weights: np.ndarray, scheme: Scheme) -> None:
    found = quantize_weights(weights, scheme)
    reals = dict(groups(found.dequantized(), scheme))
    for place, row in groups(weights, scheme):
        scale = float(found.scale[place])
        # A zero point that is rounded, and the middle of an unsigned type, cost half a step each.
        steps = 0.5 if scheme.symmetric_weights and scheme.weights != "uint8" else 1.0
        assert np.all(np.abs(reals[place] - row) <= (steps + SLACK * 256) * scale)
        assert scale == 1 if not row.any() else scale >= TINY


@settings(max_examples=40, deadline=None)
@given(matrices(), SCHEMES)
def test_least_squares_ranges_never_lose_to_the_extremes(
    weights: np.ndarray, scheme: Scheme
) -> None:
    def errors(found: QuantizedWeights) -> list[float]:
        reals = dict(groups(found.dequantized(), scheme))
        return [
            float(np.sum((reals[place].astype(np.float64) - row) ** 2))
            for place, row in groups(weights, scheme)
        ]

    simple = errors(quantize_weights(weights, scheme))
    clipped = errors(quantize_weights(weights, changed(scheme, weight_ranges="mse")))
    assert all(c <= s + SLACK * s for c, s in zip(clipped, simple, strict=True))


def test_least_squares_ranges_cut_off_tails_at_4_bits() -> None:
    weights = np.random.default_rng(0).standard_t(4, size=(16, 512)).astype(np.float32)

    def error(**settings: Any) -> float:
        found = quantize_weights(weights, Scheme(weights="int4", **settings))
        return float(np.sum((found.dequantized() - weights) ** 2))

    assert error(weight_ranges="mse") < 0.7 * error()


@settings(max_examples=40, deadline=None)
@given(matrices(), SCHEMES)
def test_integers_stay_within_the_grid_and_zeros_stay_zero(
    weights: np.ndarray, scheme: Scheme
) -> None:
    weights = weights.copy()
    weights[:, ::3] = 0
    found, grid = quantize_weights(weights, scheme), weight_grid(scheme)
    assert found.integers.dtype == np.int32 and found.integers.shape == weights.shape
    assert grid.lowest <= found.integers.min() and found.integers.max() <= grid.highest
    assert np.all(found.dequantized()[weights == 0] == 0)


def test_reduced_range_fits_two_products_with_bytes_into_16_bits() -> None:
    weights = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    found = quantize_weights(weights, Scheme(weights="int8", reduce_range=True))
    assert np.abs(found.integers).max() == 63
    assert 2 * 255 * int(np.abs(found.integers).max()) <= np.iinfo(np.int16).max


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"granularity": "per-tensor"}, (1,)),
        ({"granularity": "per-channel"}, (6,)),
        ({"granularity": "blockwise", "block_size": 32}, (6, 3)),  # the last block has 6 weights
        ({"granularity": "blockwise", "block_size": 128}, (6, 1)),
    ],
)
def test_shapes_of_scales(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 70)).astype(np.float32)
    found = quantize_weights(weights, Scheme(weights="int8", **settings))
    assert found.scale.shape == found.zero_point.shape == shape


def test_a_convolution_has_a_scale_for_each_output() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 2, 3, 3)).astype(np.float32)
    weights *= 10.0 ** np.arange(5).reshape(-1, 1, 1, 1)
    found = quantize_weights(weights, Scheme(weights="int8"))
    np.testing.assert_allclose(found.scale, np.abs(weights).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    assert found.integers.shape == weights.shape


def test_a_1x1_convolution_has_blocks_like_a_matrix() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 40, 1, 1)).astype(np.float32)
    scheme = Scheme(weights="int4", granularity="blockwise", block_size=32)
    found, flat = quantize_weights(weights, scheme), quantize_weights(weights[..., 0, 0], scheme)
    np.testing.assert_array_equal(found.integers[..., 0, 0], flat.integers)
    np.testing.assert_array_equal(found.scale, flat.scale)


@settings(max_examples=30, deadline=None)
@given(matrices(), SCHEMES)
def test_scales_are_brought_to_the_files_precision_before_rounding(
    weights: np.ndarray, scheme: Scheme
) -> None:
    def to_powers(scale: np.ndarray) -> np.ndarray:
        return np.exp2(np.ceil(np.log2(scale))).astype(np.float32)

    found = quantize_weights(weights, scheme, round_scale=to_powers)
    np.testing.assert_array_equal(found.scale, to_powers(found.scale))
    reals = dict(groups(found.dequantized(), scheme))
    if scheme.symmetric_weights and scheme.weights != "uint8":  # no other zero point is disturbed
        for place, row in groups(weights, scheme):
            assert np.all(np.abs(reals[place] - row) <= (0.5 + SLACK) * float(found.scale[place]))


def test_gptq_says_where_it_has_no_covariance_to_work_with() -> None:
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(4, 6)).astype(np.float32)
    spatial = generator.normal(size=(4, 6, 3, 3)).astype(np.float32)
    covariance = np.eye(6, dtype=np.float32)
    scheme = Scheme(weights="int4", rounding="gptq")
    assert quantize_weights(matrix, scheme, covariance=covariance).rounding == "gptq"
    assert quantize_weights(matrix, scheme).rounding == "nearest"
    found = quantize_weights(spatial, scheme, covariance=covariance)
    assert found.rounding == "nearest"
    np.testing.assert_array_equal(
        found.integers, quantize_weights(spatial, Scheme(weights="int4")).integers
    )
    assert can_use_gptq(matrix, covariance)
    assert not can_use_gptq(spatial, covariance) and not can_use_gptq(matrix, None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    weights = np.array([[1, value]], dtype=np.float32)
    with pytest.raises(UsageError, match="NaN or infinite"):
        quantize_weights(weights, Scheme(weights="int8"))


def test_the_layer_is_named() -> None:
    with pytest.raises(UsageError, match=r"^stem: weights are NaN or infinite$"):
        quantize_weights(np.full((2, 4), np.nan, np.float32), Scheme(weights="int8"), name="stem")


def test_int4_uses_all_sixteen_levels() -> None:
    weights = np.array([[-0.8, 0.7, 0.1], [0.8, -0.7, 0.1]], np.float32)
    made = quantize_weights(weights, Scheme(weights="int4"))
    assert made.integers[0].tolist() == [-8, 7, 1]
    assert made.integers.min() >= -8 and made.integers.max() == 7


def test_blocks_of_a_3x3_convolution_are_refused() -> None:
    scheme = Scheme(weights="int4", granularity="blockwise", block_size=32)
    with pytest.raises(UsageError, match=r"blocks of 32 .* 3x3 convolution"):
        quantize_weights(np.ones((4, 64, 3, 3), np.float32), scheme)


def test_float16_has_no_integers() -> None:
    scheme = Scheme(weights="float16", activations="float16")
    with pytest.raises(UsageError, match="float16 are no integers"):
        quantize_weights(np.ones((2, 2), np.float32), scheme)


def changed(scheme: Scheme, **values: Any) -> Scheme:
    return Scheme.model_validate({**scheme.model_dump(), **values})
