"""Small constants are told with their values, so that what depends on them can be judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from small_tflite import Graph
from targets_models import GOLDEN, save, value

from edgewright.targets.facts import ModelFacts, TensorFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.inspect_onnx import inspect_onnx
from edgewright.targets.inspect_tflite import inspect_tflite
from edgewright.targets.small_values import MOST_VALUES, unpacked

AXES = np.array([2, 3], np.int64)


def told(facts: ModelFacts) -> dict[str, TensorFacts]:
    return {tensor.name: tensor for graph in facts.graphs for tensor in graph.tensors}


def test_axes_of_a_converted_model() -> None:
    facts = inspect_model(GOLDEN / "targets_conv_int8.tflite")
    graph = facts.graphs[0]
    (mean,) = [node for node in graph.nodes if node.operator == "MEAN"]
    axes, data = graph.operand(mean, 1), graph.operand(mean, 0)
    assert axes is not None and axes.values == (1, 2)
    assert data is not None and data.values is None
    weights = [tensor for tensor in graph.tensors if tensor.constant_bytes > 128]
    assert weights and all(tensor.values is None for tensor in weights)


@pytest.mark.parametrize(
    "given_as", ["initializer", "external", "value", "value_ints", "value_int"]
)
def test_axes_of_onnx(tmp_path: Path, given_as: str) -> None:
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"])]
    stored = [numpy_helper.from_array(AXES, "axes")]
    expected: tuple[int, ...] = (2, 3)
    if given_as.startswith("value"):
        how: dict[str, Any] = {
            "value": {"value": stored[0]},
            "value_ints": {"value_ints": [2, 3]},
            "value_int": {"value_int": 3},
        }[given_as]
        expected = (3,) if given_as == "value_int" else expected
        nodes = [helper.make_node("Constant", [], ["axes"], **how), *nodes]
        stored = []
    path = tmp_path / "m.onnx"
    save(path, nodes, [value("x", (1, 3, 4, 4))], [value("y", None)], stored, opset=18)
    if given_as == "external":
        model = onnx.load(path)
        onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="w.bin")
        assert (tmp_path / "w.bin").exists()
    assert told(inspect_onnx(path))["axes"].values == expected


def test_bounds_are_numbers_unless_they_are_infinite(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["z"]),
        helper.make_node("Clip", ["z", "least"], ["y"]),
    ]
    stored = [
        numpy_helper.from_array(np.array(number, np.float32), name)
        for name, number in (("low", 0), ("high", 6), ("least", -np.inf))
    ]
    path = tmp_path / "m.onnx"
    save(path, nodes, [value("x", (1, 3))], [value("y", (1, 3))], stored)
    found = told(inspect_onnx(path))
    assert repr((found["low"].values, found["high"].values)) == "((0.0,), (6.0,))"
    assert found["least"].values is None


@given(
    dtype=st.sampled_from(["bool", "int8", "uint8", "int32", "int64", "float16", "float32"]),
    count=st.integers(1, MOST_VALUES + 2),
    data=st.data(),
)
def test_values_are_those_that_numpy_reads(dtype: str, count: int, data: st.DataObject) -> None:
    size = np.dtype(dtype).itemsize
    content = data.draw(st.binary(min_size=count * size, max_size=count * size + 3))
    if dtype == "bool":
        content = bytes(byte & 1 for byte in content)
    found = unpacked(content, dtype, (count,))
    array = np.frombuffer(content, dtype, count)
    if count > MOST_VALUES or not np.isfinite(array).all():
        assert found is None
    else:
        assert found is not None
        np.testing.assert_array_equal(np.array(found, array.dtype), array)


def test_what_has_no_plain_numbers_is_not_told() -> None:
    assert unpacked(b"\x12\x34", "int4", (4,)) is None
    assert unpacked(b"", "int32", (0,)) is None


def test_a_tensor_of_a_tflite_file(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", [1, 4, 4, 2])
    amounts = graph.constant("amounts", np.array([[0, 0], [1, 2], [1, 1], [0, 0]], np.int32))
    out = graph.node("PAD", [x, amounts], "out", [1, 7, 6, 2], "PadOptions")
    facts = inspect_tflite(graph.write(tmp_path / "m.tflite", out))
    assert told(facts)["amounts"].values == (0, 0, 1, 2, 1, 1, 0, 0)
