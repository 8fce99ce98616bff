"""Affine grids: the integers that stand for reals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import save_onnx
from onnx import helper

from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.runtime import load_model

FLOAT32 = np.finfo(np.float32)
GRIDS = st.builds(Grid, st.integers(2, 16), st.booleans(), st.booleans()) | st.builds(
    Grid, st.integers(2, 16), st.just(True), st.just(True), st.just(True)
)
#: Anything float32 holds, but for the two bits before its end.
REALS = st.floats(-(2.0**126), 2.0**126, width=32)
SUBNORMAL = st.floats(-(2.0**-127), 2.0**-127, width=32)
EDGE = float(FLOAT32.max)
#: How far float32 rounding of the scale carries the ends of the widest grid, in steps.
ROUNDING = 2.0**16 * float(FLOAT32.eps)


def ranges(ends: st.SearchStrategy[float] = REALS) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


def plain_parameters(grid: Grid, low: float, high: float) -> tuple[float, int]:
    """Scale and zero point by the definition, one at a time."""
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.symmetric and not grid.full:
        low, high = min(low, -high), max(-low, high)
    step = (high - low) / (grid.highest - grid.lowest)
    if grid.full:
        step = max(low / grid.lowest, high / grid.highest)
    scale = 1.0 if step == 0 else float(np.float32(max(step, float(FLOAT32.tiny))))
    if grid.symmetric:
        return scale, 0 if grid.signed else 2 ** (grid.bits - 1)
    return scale, min(max(round(grid.lowest - low / scale), grid.lowest), grid.highest)


@pytest.mark.parametrize(
    ("bits", "signed", "symmetric", "lowest", "highest"),
    [
        (8, True, True, -127, 127),  # the TFLite specification leaves -128 out
        (8, True, False, -128, 127),
        (8, False, True, 0, 255),
        (8, False, False, 0, 255),
        (7, True, True, -63, 63),
        (4, True, True, -7, 7),
        (4, True, False, -8, 7),
        (4, False, False, 0, 15),
        (16, True, True, -32767, 32767),
        (16, False, False, 0, 65535),
        (2, True, True, -1, 1),
    ],
)
def test_the_integers_of_each_type(
    bits: int, signed: bool, symmetric: bool, lowest: int, highest: int
) -> None:
    grid = Grid(bits, signed, symmetric)
    assert (grid.lowest, grid.highest, grid.steps) == (lowest, highest, highest - lowest)


@pytest.mark.parametrize(("bits", "lowest", "highest"), [(4, -8, 7), (8, -128, 127), (2, -2, 1)])
def test_a_full_grid_uses_the_lowest_integer_too(bits: int, lowest: int, highest: int) -> None:
    grid = Grid(bits, True, True, full=True)
    assert (grid.lowest, grid.highest, grid.steps) == (lowest, highest, highest - lowest)


@pytest.mark.parametrize(
    ("grid", "low", "high", "scale", "zero_point"),
    [
        (Grid(8, False, False), 0, 255, 1, 0),
        (Grid(8, False, False), -128, 127, 1, 128),
        (Grid(8, True, False), 0, 25.5, 0.1, -128),
        (Grid(8, True, False), -51, 0, 0.2, 127),
        (Grid(8, True, True), -1, 12.7, 0.1, 0),
        (Grid(8, False, True), -12.75, 3, 0.1, 128),
        (Grid(16, True, True), -3.2767, 0, 0.0001, 0),
        # Full: the lower end reaches one step further than the upper one.
        (Grid(4, True, True, full=True), -0.8, 0.7, 0.1, 0),
        (Grid(4, True, True, full=True), -0.8, 0, 0.1, 0),
        (Grid(4, True, True, full=True), -0.7, 0.7, 0.1, 0),
        (Grid(4, True, True), -0.7, 0.7, 0.1, 0),
        # Widened to hold zero: padding and ReLU need it.
        (Grid(8, False, False), 5, 25.5, 0.1, 0),
        (Grid(8, True, False), -25.5, -5, 0.1, 127),
    ],
)
def test_parameters_that_are_known(
    grid: Grid, low: float, high: float, scale: float, zero_point: int
) -> None:
    found, zero = grid.parameters(low, high)
    assert found.dtype == np.float32 and zero.dtype == np.int32
    assert found == np.float32(scale) and zero == zero_point


@given(GRIDS, ranges() | ranges(SUBNORMAL))
def test_parameters_are_those_of_the_definition(grid: Grid, ends: tuple[float, float]) -> None:
    scale, zero_point = grid.parameters(*ends)
    assert (float(scale), int(zero_point)) == plain_parameters(grid, *ends)


@given(GRIDS, ranges(st.floats(-EDGE, EDGE, width=32)) | ranges(SUBNORMAL))
def test_scales_are_finite_and_normal_and_zero_points_on_the_grid(
    grid: Grid, ends: tuple[float, float]
) -> None:
    scale, zero_point = grid.parameters(*ends)
    assert np.isfinite(scale) and scale >= FLOAT32.tiny
    assert grid.lowest <= zero_point <= grid.highest
    if grid.symmetric:
        assert zero_point == (0 if grid.signed else 1 << (grid.bits - 1))


@given(GRIDS, ranges())
def test_zero_is_exact(grid: Grid, ends: tuple[float, float]) -> None:
    scale, zero_point = grid.parameters(*ends)
    assert grid.quantize(0.0, scale, zero_point) == zero_point
    assert grid.dequantize(zero_point, scale, zero_point) == 0


@given(GRIDS, ranges() | ranges(SUBNORMAL), st.floats(0, 1))
def test_what_lies_in_the_range_is_off_by_half_a_step_at_most(
    grid: Grid, ends: tuple[float, float], at: float
) -> None:
    low, high = ends
    scale, zero_point = grid.parameters(low, high)
    values = np.array([low, high, low + at * (high - low), 0.0])
    back = grid.dequantize(grid.quantize(values, scale, zero_point), scale, zero_point)
    assert np.abs(back - values).max() <= float(scale) * (0.5 + ROUNDING)


@given(GRIDS, ranges(), hnp.arrays(np.float32, 20, elements=REALS))
def test_integers_are_never_off_the_grid(
    grid: Grid, ends: tuple[float, float], values: np.ndarray
) -> None:
    integers = grid.quantize(values, *grid.parameters(*ends))
    assert integers.dtype == np.int32
    assert integers.min() >= grid.lowest and integers.max() <= grid.highest


@given(GRIDS, ranges() | ranges(SUBNORMAL))
def test_integers_survive_the_way_to_reals_and_back(grid: Grid, ends: tuple[float, float]) -> None:
    scale, zero_point = grid.parameters(*ends)
    integers = np.unique(np.linspace(grid.lowest, grid.highest, 300).astype(np.int32))
    reals = grid.dequantize(integers, scale, zero_point)
    assert reals.dtype == np.float32
    np.testing.assert_array_equal(grid.quantize(reals, scale, zero_point), integers)


@given(
    st.builds(Grid, st.integers(2, 8), st.booleans(), st.booleans()),
    ranges(),
    hnp.arrays(np.float32, 20, elements=REALS),
)
def test_no_other_integer_comes_closer(
    grid: Grid, ends: tuple[float, float], values: np.ndarray
) -> None:
    scale, zero_point = grid.parameters(*ends)
    every = (np.arange(grid.lowest, grid.highest + 1) - float(zero_point)) * float(scale)
    reals = values.astype(np.float64)
    found = every[grid.quantize(values, scale, zero_point) - grid.lowest]
    closest = np.abs(every - reals[:, None]).min(axis=1)
    # Two integers may be equally far but for the last bits of the difference.
    slack = 1e-9 * (float(scale) + np.abs(reals))
    assert (np.abs(found - reals) <= closest + slack).all()


@given(st.integers(2, 16), ranges())
def test_a_full_grid_is_never_coarser(bits: int, ends: tuple[float, float]) -> None:
    full, _ = Grid(bits, True, True, full=True).parameters(*ends)
    without, _ = Grid(bits, True, True).parameters(*ends)
    assert full <= without


@given(GRIDS)
def test_a_range_of_nothing_but_zero_has_scale_one(grid: Grid) -> None:
    scale, zero_point = grid.parameters(0.0, 0.0)
    assert scale == 1 and grid.lowest <= zero_point <= grid.highest
    assert grid.dequantize(grid.quantize(0.0, scale, zero_point), scale, zero_point) == 0


@given(GRIDS, st.lists(ranges(), min_size=1, max_size=8))
def test_channels_are_computed_as_if_alone(grid: Grid, channels: list[tuple[float, float]]) -> None:
    lows, highs = np.array(channels).T
    scale, zero_point = grid.parameters(lows, highs)
    assert scale.shape == zero_point.shape == lows.shape
    values = np.stack([lows, highs])
    integers = grid.quantize(values, scale, zero_point)
    reals = grid.dequantize(integers, scale, zero_point)
    for at, ends in enumerate(channels):
        own = grid.parameters(*ends)
        assert (scale[at], zero_point[at]) == own
        np.testing.assert_array_equal(grid.quantize(values[:, at], *own), integers[:, at])
        np.testing.assert_array_equal(grid.dequantize(integers[:, at], *own), reals[:, at])


@given(GRIDS, ranges(st.sampled_from([-EDGE, -3e38, -1.0, 0.0, 1.0, 3e38, EDGE])))
def test_reals_are_finite_up_to_the_end_of_float32(grid: Grid, ends: tuple[float, float]) -> None:
    """Masks of attention hold the lowest float32, and infinities would breed NaN."""
    scale, zero_point = grid.parameters(*ends)
    with np.errstate(over="ignore"):
        reals = grid.dequantize(grid.quantize(ends, scale, zero_point), scale, zero_point)
    assert np.isfinite(reals).all()
    # No grid of even size reaches both ends of float32 by half a step.
    assert np.abs(reals.astype(np.float64) - ends).max() <= float(scale) * (1 + ROUNDING)


@pytest.mark.parametrize("signed", [True, False])
def test_onnx_runtime_quantizes_to_the_same_integers(tmp_path: Path, signed: bool) -> None:
    """With a scale that divides exactly, halves go to the even integer there and here."""
    grid = Grid(8, signed, False)
    values = (np.arange(-600, 600) / 8).astype(np.float32)[None]
    zero = np.array(-3 if signed else 100, np.int8 if signed else np.uint8)
    scale = np.array(0.25, np.float32)
    path = save_onnx(
        tmp_path / "qdq.onnx",
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        {"x": [1, 1200]},
        {"y": [1, 1200]},
        scale=scale,
        zero=zero,
    )
    (theirs,) = load_model(str(path), "onnx").run([values])
    integers = grid.quantize(values, scale, zero.astype(np.int32))
    np.testing.assert_array_equal(grid.dequantize(integers, scale, zero.astype(np.int32)), theirs)
    assert integers.min() == grid.lowest and integers.max() == grid.highest
