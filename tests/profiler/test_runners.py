"""Which runtime is used, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from small_models import GOLDEN, measured

from edgewright.errors import RuntimeMissing, UsageError
from edgewright.profiler.agent.device import RUNTIMES
from edgewright.profiler.runners import RUNNERS, Installed, choose_runner
from edgewright.targets.profile import READERS, RuntimeName

BOARD = Installed(
    address="ssh://pi",
    python="/usr/bin/python3",
    python_version="3.11.2",
    architecture="aarch64",
    numpy="1.26.4",
    runtimes={"onnxruntime": "1.31.1", "tflite_runtime": "2.14.0"},
)


def test_every_runtime_is_known_everywhere() -> None:
    assert set(RUNNERS) == set(get_args(RuntimeName)) == set(RUNTIMES)
    for model_format, names in READERS.items():
        assert all(model_format in RUNNERS[name].formats for name in names)


def test_takes_the_best_that_is_there() -> None:
    assert choose_runner(BOARD, "onnx").name == "onnxruntime"
    assert choose_runner(BOARD, "tflite").name == "tflite_runtime"
    both = replace(BOARD, runtimes={"tflite_runtime": "2.14.0", "ai_edge_litert": "2.3.0"})
    assert choose_runner(both, "tflite").name == "ai_edge_litert"
    assert choose_runner(both, "tflite", "tflite_runtime").name == "tflite_runtime"


def test_a_missing_runtime_comes_with_the_command_to_install_it() -> None:
    bare = replace(BOARD, runtimes={})
    with pytest.raises(RuntimeMissing) as raised:
        choose_runner(bare, "onnx")
    assert "ssh://pi" in raised.value.message and "none at all" in raised.value.message
    assert raised.value.hint == "on the device: /usr/bin/python3 -m pip install onnxruntime"
    with pytest.raises(RuntimeMissing, match=r"onnxruntime 1\.31\.1, tflite_runtime 2\.14\.0"):
        choose_runner(BOARD, "tflite", "ai_edge_litert")


def test_on_32_bit_arm_the_advice_is_one_that_can_be_followed() -> None:
    old = replace(BOARD, architecture="armv7l", runtimes={})
    with pytest.raises(RuntimeMissing) as raised:
        choose_runner(old, "tflite")
    assert raised.value.hint is not None
    assert raised.value.hint.endswith("pip install tflite-runtime 'numpy<2'")
    with pytest.raises(RuntimeMissing) as raised:
        choose_runner(old, "onnx")
    assert "convert the model to TFLite" in str(raised.value.hint)


def test_a_runtime_that_cannot_read_the_format_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="onnxruntime can't run tflite"):
        choose_runner(BOARD, "tflite", "onnxruntime")


def test_tflite_runtime_on_numpy_2_is_refused_with_the_reason() -> None:
    with pytest.raises(RuntimeMissing, match=r"NumPy 2\.1\.0"):
        choose_runner(replace(BOARD, numpy="2.1.0"), "tflite")


def test_a_known_defect_is_noted_where_it_may_matter() -> None:
    quantized = replace(measured(GOLDEN / "tiny_int8.tflite", check=False), precision="quantized")
    runner = RUNNERS["tflite_runtime"]
    assert "wrongly" in runner.notes(BOARD, quantized)[0]
    assert runner.notes(BOARD, replace(quantized, precision="float32")) == ()
    assert np.all([RUNNERS[n].notes(BOARD, quantized) == () for n in ("onnxruntime",)])
