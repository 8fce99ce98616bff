"""Rounding: to the nearest, at random without bias, and with the layer's output in mind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.recipe import Scheme
from edgewright.exporters.quantize.rounding import ROUNDINGS, Problem
from edgewright.exporters.quantize.weights import quantize_weights

SEEDS = st.integers(0, 2**32 - 1)
FOUR_BITS = Grid(bits=4, signed=True, symmetric=True)
#: Its steps are small beside the weights.
WIDE = Grid(bits=8, signed=True, symmetric=True)


def problem(
    seed: int = 0,
    outputs: int = 12,
    inputs: int = 24,
    *,
    grid: Grid = FOUR_BITS,
    correlation: float = 0.9,
) -> Problem:
    """Random weights whose inputs have something in common, with a scale for each output."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(outputs, inputs)).astype(np.float32)
    scale, zero_point = grid.parameters(weights.min(axis=1), weights.max(axis=1))
    common = generator.normal(size=(400, 3)) @ generator.normal(size=(3, inputs))
    x = correlation * common + (1 - correlation) * generator.normal(size=(400, inputs))
    covariance = (x.T @ x / len(x)).astype(np.float32)
    return Problem(weights, grid, scale[:, None], zero_point[:, None], covariance, seed=0)


def errors(given_problem: Problem, integers: np.ndarray) -> np.ndarray:
    """E[(w x - q x)^2] of each output, by the definition."""
    assert given_problem.covariance is not None
    lost = given_problem.weights.astype(np.float64) - given_problem.dequantized(integers)
    covariance = given_problem.covariance.astype(np.float64)
    return np.array([row @ covariance @ row for row in lost])


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_stochastic_rounding_goes_to_one_of_the_two_neighbours(seed: int) -> None:
    given_problem = replace(problem(seed, grid=WIDE), seed=seed)
    exact = given_problem.weights.astype(np.float64) / given_problem.scale
    found = ROUNDINGS["stochastic"](given_problem)
    assert np.all((found == np.floor(exact)) | (found == np.ceil(exact)))


def test_stochastic_rounding_is_right_on_average() -> None:
    base = problem(outputs=3, inputs=40, grid=Grid(4, True, False))
    exact = base.weights / base.scale + base.zero_point
    inside = (exact >= base.grid.lowest) & (exact <= base.grid.highest)
    rounds = 2000
    mean = np.mean([ROUNDINGS["stochastic"](replace(base, seed=s)) for s in range(rounds)], axis=0)
    # Five standard errors of the mean of a coin that falls either way.
    assert np.abs(mean - exact)[inside].max() < 5 * 0.5 / np.sqrt(rounds)


def test_stochastic_rounding_follows_from_the_seed_and_the_weights_alone() -> None:
    first, second = problem(1), problem(2)
    stochastic = ROUNDINGS["stochastic"]
    one = stochastic(first)
    stochastic(second)
    np.testing.assert_array_equal(one, stochastic(first))
    assert np.any(one != stochastic(replace(first, seed=1)))
    # The same numbers for every layer would tie their errors together.
    nudged = replace(first, weights=np.nextafter(first.weights, np.float32(np.inf)))
    assert np.any(one != stochastic(nudged))


def test_stochastic_rounding_of_a_layer_is_the_same_tomorrow() -> None:
    weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    found = quantize_weights(weights, Scheme(weights="int4", rounding="stochastic", seed=3))
    assert found.integers.tolist() == [[-8, -7, -5, -3, -2, -1], [1, 2, 3, 5, 5, 7]]


def plain_gptq(given_problem: Problem, dampening: float) -> np.ndarray:
    """Optimal brain quantization one column at a time, in a fixed order (arXiv:2210.17323, 3).

    The inverse Hessian loses the row and column of each input that is done, by equation 3.
    """
    assert given_problem.covariance is not None
    covariance = given_problem.covariance.astype(np.float64)
    order = np.argsort(-np.diag(covariance), kind="stable")
    hessian = 2 * covariance[np.ix_(order, order)]
    inverse = np.linalg.inv(hessian + dampening * np.diag(hessian).mean() * np.eye(len(order)))
    weights = given_problem.weights.astype(np.float64)[:, order]
    found = np.zeros(weights.shape, dtype=np.int32)
    grid = given_problem.grid
    scale, zero_point = given_problem.scale.astype(np.float64), given_problem.zero_point
    for column in range(len(order)):
        exact = weights[:, column : column + 1]
        found[:, column : column + 1] = grid.quantize(exact, given_problem.scale, zero_point)
        lost = exact - (found[:, column : column + 1] - zero_point) * scale
        weights = weights - lost / inverse[column, column] * inverse[column]
        inverse = inverse - np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        inverse[column, column] = 1  # done with: what comes after does not look at it
    restored = np.empty_like(found)
    restored[:, order] = found
    return restored


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([1, 2, 24, 64, 65, 130]), st.booleans())
def test_gptq_is_optimal_brain_quantization_column_by_column(
    seed: int, inputs: int, symmetric: bool
) -> None:
    given_problem = problem(seed, inputs=inputs, grid=Grid(4, True, symmetric))
    found = ROUNDINGS["gptq"](given_problem)
    plain, simple = plain_gptq(given_problem, 0.03), ROUNDINGS["nearest"](given_problem)
    better = errors(given_problem, plain) < errors(given_problem, simple)
    np.testing.assert_array_equal(found, np.where(better[:, None], plain, simple))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([3, 4, 8]), st.floats(0, 0.99))
def test_gptq_never_makes_a_row_worse_than_the_nearest(
    seed: int, bits: int, correlation: float
) -> None:
    given_problem = problem(seed, grid=Grid(bits, True, True), correlation=correlation)
    learned = errors(given_problem, ROUNDINGS["gptq"](given_problem))
    simple = errors(given_problem, ROUNDINGS["nearest"](given_problem))
    assert np.all(learned <= simple)


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(weights="int4", rounding="gptq"),
        Scheme(weights="int4", rounding="gptq", symmetric_weights=False),
        Scheme(weights="int4", rounding="gptq", granularity="blockwise", block_size=32),
        Scheme(weights="int4", rounding="gptq", granularity="per-tensor"),
        Scheme(weights="int4", rounding="gptq", weight_ranges="mse"),
    ],
)
@pytest.mark.parametrize("shape", [(64, 100), (64, 100, 1, 1)])
def test_gptq_at_4_bits_leaves_a_fraction_of_the_error_where_inputs_go_together(
    scheme: Scheme, shape: tuple[int, ...]
) -> None:
    base = problem(5, outputs=64, inputs=100)
    weights = base.weights.reshape(shape)
    totals = []
    for rounding in ("gptq", "nearest"):
        chosen = Scheme.model_validate({**scheme.model_dump(), "rounding": rounding})
        found = quantize_weights(weights, chosen, covariance=base.covariance)
        lost = (weights - found.dequantized()).reshape(64, 100).astype(np.float64)
        totals.append(float(np.einsum("oi,ij,oj", lost, base.covariance, lost)))
    assert totals[0] < 0.5 * totals[1]


@pytest.mark.parametrize("diagonal", [np.ones(24), np.arange(24.0), np.zeros(24)])
def test_gptq_is_rounding_to_nearest_where_inputs_have_nothing_in_common(
    diagonal: np.ndarray,
) -> None:
    given_problem = replace(problem(), covariance=np.diag(diagonal).astype(np.float32))
    np.testing.assert_array_equal(
        ROUNDINGS["gptq"](given_problem), ROUNDINGS["nearest"](given_problem)
    )


def test_gptq_bears_inputs_that_are_copies_of_each_other() -> None:
    base = problem(inputs=24)
    covariance = np.full((24, 24), 4.0, dtype=np.float32)
    found = ROUNDINGS["gptq"](replace(base, covariance=covariance))
    # Only the sum of the weights counts, which all but the last rounding can make up for.
    off = np.abs((base.dequantized(found) - base.weights).sum(axis=1))
    assert np.all(off <= base.scale[:, 0])
