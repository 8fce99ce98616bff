"""When a device's answers pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgewright.exporters.artifact import Array
from edgewright.profiler.correctness import check_answers, difference
from edgewright.profiler.job import MeasuredModel, OutputPort, Precision

GENERATOR = np.random.default_rng(2)
FLOAT = [[GENERATOR.normal(size=(1, 100)).astype(np.float32)] for _ in range(3)]


def noisy(answers: list[list[Array]], sqnr_db: float, seed: int) -> list[list[Array]]:
    generator = np.random.default_rng(seed)
    scale = 10 ** (-sqnr_db / 20)

    def add_noise(array: Array) -> Array:
        return array + scale * generator.normal(size=array.shape).astype(np.float32)

    return [[add_noise(array) for array in sample] for sample in answers]


def model(
    precision: Precision, host: list[list[Array]] | None, original: list[list[Array]] | None
) -> MeasuredModel:
    return MeasuredModel(
        name="m",
        path=Path("m.onnx"),
        format="onnx",
        sha256="",
        size_bytes=0,
        precision=precision,
        inputs=[],
        outputs=[OutputPort("y", lambda array: array)],
        host_outputs=host or (),
        float_outputs=original or (),
    )


HOST = noisy(FLOAT, 17, seed=1)


def test_a_float_model_agrees_with_itself() -> None:
    close = [[a + np.float32(1e-4) for a in s] for s in FLOAT]
    found = check_answers(model("float32", FLOAT, None), close)
    assert (found.status, found.against, found.inputs) == ("passed", "self", 3)
    assert found.outputs[0].max_abs_error == pytest.approx(1e-4, rel=0.01)
    wrong = [[a + np.float32(0.1) for a in s] for s in FLOAT]
    assert check_answers(model("float32", FLOAT, None), wrong).status == "failed"


def test_a_quantized_model_may_round_otherwise() -> None:
    other_rounding = noisy(FLOAT, 17, seed=2)
    found = check_answers(model("quantized", HOST, FLOAT), other_rounding)
    assert (found.status, found.against) == ("passed", "float")
    assert {check.against for check in found.outputs} == {"self", "float"}


def test_a_quantized_model_may_not_be_worse_than_on_the_host() -> None:
    worse = noisy(FLOAT, 12, seed=2)
    found = check_answers(model("quantized", HOST, FLOAT), worse)
    assert found.status == "failed"
    assert "where the host has 17." in found.reason


def test_a_quantized_model_without_its_float_model() -> None:
    assert check_answers(model("quantized", HOST, None), noisy(HOST, 20, 3)).status == "passed"
    assert check_answers(model("quantized", HOST, None), noisy(HOST, 5, 3)).status == "failed"


def test_only_the_float_answers_are_known() -> None:
    assert check_answers(model("quantized", None, FLOAT), noisy(FLOAT, 8, 3)).status == "passed"
    assert check_answers(model("quantized", None, FLOAT), noisy(FLOAT, 0, 3)).status == "failed"


def test_nan_on_the_device_fails() -> None:
    broken = [[a.copy() for a in s] for s in FLOAT]
    broken[1][0][0, 5] = np.nan
    for precision in ("float32", "quantized"):
        found = check_answers(model(precision, FLOAT, FLOAT), broken)  # type: ignore[arg-type]
        assert found.status == "failed" and "NaN" in found.reason
        assert found.outputs[0].max_abs_error is None


def test_another_shape_fails() -> None:
    found = check_answers(model("float32", FLOAT, None), [[a[:, :50] for a in s] for s in FLOAT])
    assert found.status == "failed" and "shape" in found.reason


def test_integers_are_compared_as_what_they_stand_for() -> None:
    quantized = [[np.array([[10, -20]], np.int8)]]
    real = [[np.array([[1.0, -2.0]], np.float32)]]
    port = OutputPort("y", lambda array: array.astype(np.float32) / 10)
    asked = replace(model("quantized", None, real), outputs=[port])
    found = check_answers(asked, quantized)
    assert found.status == "passed" and found.outputs[0].max_abs_error == pytest.approx(0, abs=1e-6)


def test_nothing_to_compare_is_not_a_pass() -> None:
    assert check_answers(model("float32", None, None), FLOAT).status == "not-checked"
    assert check_answers(model("float32", FLOAT, None), None).status == "not-checked"


@given(
    arrays.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)),
    arrays.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)),
)
def test_difference_is_that_of_the_formula(x: Array, y: Array) -> None:
    found = difference(y, x)
    noise, signal = np.sum((x - y) ** 2), np.sum(x**2)
    assert found.max_abs_error == np.max(np.abs(x - y))
    assert found.sqnr_db is not None
    if noise == 0:
        assert found.sqnr_db == np.inf
    elif signal > 0:
        assert found.sqnr_db == pytest.approx(10 * (np.log10(signal) - np.log10(noise)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_no_numbers_to_compare(value: float) -> None:
    x, broken = np.array([1.0, 2.0]), np.array([1.0, value])
    for pair in ((x, broken), (broken, x), (broken, broken.copy())):
        assert difference(*pair).max_abs_error is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["float32", "float16", "quantized"])
def test_nan_and_infinity_fail_even_if_the_host_gives_them(
    precision: Precision, value: float
) -> None:
    broken = [[a.copy() for a in s] for s in FLOAT]
    broken[1][0][0, 5] = value
    for host, original in ((broken, broken), (broken, None), (None, broken), (None, None)):
        found = check_answers(model(precision, host, original), broken)
        assert (found.status, found.reason) == ("failed", "y: the device gives NaN or Inf")
        assert all(check.max_abs_error is None for check in found.outputs)


def test_numbers_where_the_host_has_none_fail() -> None:
    broken = [[a.copy() for a in s] for s in FLOAT]
    broken[1][0][0, 5] = np.inf
    found = check_answers(model("float32", broken, None), FLOAT)
    assert found.status == "failed" and "NaN or Inf on the host" in found.reason


def test_complex_answers_have_two_parts() -> None:
    right = np.array([1 + 2j, 3 - 1j], np.complex64)
    assert difference(right, right).max_abs_error == 0
    wrong = difference(right.real + 0j, right)
    assert wrong.max_abs_error == 2
