"""The oldest version of the ONNX format that has everything in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from targets_models import convnet, value

from edgewright.exporters.ir_version import oldest_ir_version


def model(*nodes: Any, opset: int = 17, dtype: int = TensorProto.FLOAT, **more: Any) -> Any:
    graph = helper.make_graph(list(nodes), "g", [value("x", [2], dtype)], [value("y", [2], dtype)])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, **more)


IDENTITY = helper.make_node("Identity", ["x"], ["y"])


@pytest.mark.parametrize(
    ("opset", "oldest"), [(8, 4), (11, 6), (13, 7), (17, 8), (20, 9), (22, 10), (23, 11), (25, 13)]
)
def test_of_operator_sets(opset: int, oldest: int) -> None:
    assert oldest_ir_version(model(IDENTITY, opset=opset)) == oldest


def test_an_operator_set_that_nobody_knows_yet_keeps_its_version() -> None:
    assert oldest_ir_version(model(IDENTITY, opset=1000, ir_version=77)) == 77


@pytest.mark.parametrize(
    ("dtype", "oldest"),
    [("INT8", 8), ("FLOAT8E5M2", 9), ("INT4", 10), ("FLOAT4E2M1", 11), ("UINT2", 13)],
)
def test_of_element_types(dtype: str, oldest: int) -> None:
    number = TensorProto.DataType.Value(dtype)
    assert oldest_ir_version(model(IDENTITY, dtype=number)) == oldest
    # An element type inside of a branch, as a constant that only it has.
    constant = helper.make_node(
        "Constant", [], ["c"], value=TensorProto(name="c", data_type=number, dims=[0])
    )
    branch = helper.make_graph([constant], "b", [], [value("c", None, number)])
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert oldest_ir_version(model(choice)) == oldest


def test_of_fields() -> None:
    function = helper.make_function("own", "F", ["x"], ["y"], [IDENTITY], [])
    assert oldest_ir_version(model(IDENTITY, opset=13)) == 7
    assert oldest_ir_version(model(IDENTITY, opset=13, functions=[function])) == 8
    function.attribute_proto.append(helper.make_attribute("a", 1))
    assert oldest_ir_version(model(IDENTITY, opset=13, functions=[function])) == 9
    spread = model(IDENTITY)
    spread.configuration.add(name="two", num_devices=2)
    assert oldest_ir_version(spread) == 11


@pytest.mark.parametrize("opset", [11, 13, 17, 19, 21])
def test_onnx_runtime_and_the_checker_take_it(tmp_path: Path, opset: int) -> None:
    made = onnx.load(convnet(tmp_path / "net.onnx", opset=opset, ir=11))
    made.ir_version = oldest_ir_version(made)
    onnx.checker.check_model(made, full_check=True)
    onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
