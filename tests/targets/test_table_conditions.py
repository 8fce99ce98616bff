"""What the tables say of layers that meet their conditions, and of such as don't."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_making import Making
from models import FASHION, GOLDEN, TINY_TFLITE
from onnx import helper, numpy_helper
from small_tflite import Graph
from targets_models import save, value
from third_party import third_party

from edgewright.targets.inspect import inspect_model
from edgewright.targets.judge import Verdict, judge
from edgewright.targets.place import place
from edgewright.targets.support_files import support_table

IMAGE = (1, 8, 8, 16)
NONE = {"fused_activation_function": "NONE"}
CONV = {
    "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, "padding": "SAME",
}  # fmt: skip


def judged(
    support: str,
    operator: str,
    inputs: list[Mapping[str, Any]],
    output: tuple[int, ...] = IMAGE,
    dtype: str = "int8",
    opset: int | None = None,
    version: int | None = 1,
    **attributes: Any,
) -> Verdict:
    making = Making()
    names = []
    for at, given in enumerate(inputs):
        quantized = str(given.get("dtype", dtype)).startswith("int8")
        tensor = {"dtype": dtype, "per_channel": False if quantized else None, **given}
        names.append(making.tensor(f"x{at}", **tensor))
    making.tensor("y", dtype, output)
    node = making.node(operator, names, ["y"], version=version, **attributes)
    found = support_table(support)
    assert found is not None
    return judge(node, making.graph(), found, None, None if opset is None else {"": opset})


def data(*shape: int, **rest: Any) -> dict[str, Any]:
    return {"shape": shape, **rest}


def weights(*shape: int, **rest: Any) -> dict[str, Any]:
    return {"shape": shape, "constant": True, **rest}


def axes(*values: int) -> dict[str, Any]:
    return {"shape": (len(values),), "dtype": "int32", "values": values}


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "attributes", "code"),
    [
        ("MEAN", [data(*IMAGE), axes(1, 2)], (1, 16), {}, None),
        ("MEAN", [data(*IMAGE), axes(-1)], (1, 8, 8), {}, None),
        ("MEAN", [data(1, 8, 8, 3), axes(3)], (1, 8, 8), {}, "shape-not-supported"),
        ("MEAN", [data(*IMAGE), axes(0)], (8, 8, 16), {}, "axis-not-supported"),
        ("CONV_2D", [data(*IMAGE), weights(16, 3, 3, 16)], IMAGE, CONV, None),
        (
            "CONV_2D", [data(*IMAGE), weights(16, 3, 3, 16)], IMAGE,
            {**CONV, "dilation_w_factor": 2}, "attribute-not-supported",
        ),
        ("CONCATENATION", [data(*IMAGE), data(*IMAGE)], (1, 8, 8, 32), {**NONE, "axis": 3}, None),
        (
            "CONCATENATION", [data(*IMAGE), data(*IMAGE), weights(*IMAGE)], (1, 8, 8, 48),
            {**NONE, "axis": 3}, "operands-not-supported",
        ),
        ("FULLY_CONNECTED", [data(1, 16), weights(5, 16)], (1, 5), {"weights_format": "DEFAULT"},
         None),
        ("FULLY_CONNECTED", [data(4, 16), weights(5, 16)], (4, 5), {"weights_format": "DEFAULT"},
         "rank-not-supported"),
        ("PAD", [data(*IMAGE), axes(0, 0, 1, 1, 1, 1, 0, 0)], (1, 10, 10, 16), {}, None),
        ("PAD", [data(*IMAGE), axes(1, 0, 0, 0, 0, 0, 0, 0)], (2, 8, 8, 16), {},
         "axis-not-supported"),
        ("PRELU", [data(*IMAGE), weights(1, 1, 16)], IMAGE, {}, None),
        ("PRELU", [data(*IMAGE), weights(8, 8, 16)], IMAGE, {}, "shape-not-supported"),
        ("SOFTMAX", [data(1, 16000)], (1, 16000), {}, None),
        ("SOFTMAX", [data(1, 16001)], (1, 16001), {}, "shape-not-supported"),
    ],
)  # fmt: skip
def test_edge_tpu(
    operator: str,
    inputs: list[Mapping[str, Any]],
    output: tuple[int, ...],
    attributes: dict[str, Any],
    code: str | None,
) -> None:
    found = judged("edge-tpu", operator, inputs, output, **attributes)
    assert (found.answer, found.code) == ("no" if code else "yes", code), found
    assert found.note is None


def test_edge_tpu_takes_a_constant_of_zeros_and_nobody_checks_the_zeros() -> None:
    joined = judged(
        "edge-tpu", "CONCATENATION", [data(*IMAGE), weights(*IMAGE)], (1, 8, 8, 32), **NONE, axis=3
    )
    assert (joined.answer, joined.note) == ("yes", "the constant input is all zeros")


@pytest.mark.parametrize(
    ("strides", "kernel", "group", "answer"),
    [
        ((1, 1), 9, 1, "yes"),
        ((2, 2), 7, 1, "yes"),
        ((2, 2), 9, 1, "no"),
        ((2, 1), 3, 1, "no"),
        ((4, 4), 11, 1, "yes"),
        ((4, 4), 4, 1, "no"),
        ((16, 16), 16, 1, "yes"),
        ((1, 1), 3, 16, "yes"),
        ((2, 2), 5, 16, "yes"),
        ((1, 1), 9, 16, "no"),
    ],
)
def test_convolutions_of_tidl(
    strides: tuple[int, int], kernel: int, group: int, answer: str
) -> None:
    image, filters = data(1, 16, 32, 32), weights(16, 16 // group, kernel, kernel)
    given = {"strides": strides, "group": group, "kernel_shape": (kernel, kernel)}
    found = judged("tidl-onnx", "Conv", [image, filters], dtype="float32", opset=17, **given)
    assert (found.answer, found.note) == (answer, None), found


@pytest.mark.parametrize(
    ("weight", "strides", "answer"),
    [((1, 3, 3, 16), (2, 2), "yes"), ((1, 3, 3, 16), (2, 1), "no"), ((1, 4, 4, 16), (1, 1), "no")],
)
def test_depthwise_convolutions_of_tidl(
    weight: tuple[int, ...], strides: tuple[int, int], answer: str
) -> None:
    given = {**CONV, "stride_w": strides[0], "stride_h": strides[1]}
    inputs = [data(*IMAGE), weights(*weight)]
    found = judged("tidl-tflite", "DEPTHWISE_CONV_2D", inputs, dtype="float32", **given)
    assert (found.answer, found.note) == (answer, None), found


def test_where_a_source_contradicts_itself_nobody_is_told_a_certainty() -> None:
    inputs = [data(*IMAGE), weights(1, 5, 5, 16)]
    found = judged("tidl-tflite", "DEPTHWISE_CONV_2D", inputs, dtype="float32", **CONV)
    assert found.answer == "yes"
    assert "stride 2 twice" in str(found.note)


@pytest.mark.parametrize(
    ("low", "high", "opset", "support", "answer"),
    [
        (0.0, 6.0, 13, "onnxruntime-nnapi", "yes"),
        (-1.0, 1.0, 13, "onnxruntime-nnapi", "yes"),
        (0.0, 4.0, 13, "onnxruntime-nnapi", "no"),
        (0.0, 6.0, 10, "onnxruntime-nnapi", "yes"),
        (0.0, 4.0, 13, "tidl-onnx", "yes"),
        (0.5, 4.0, 13, "tidl-onnx", "no"),
        (-1.0, 0.0, 10, "tidl-onnx", "no"),
    ],
)
def test_bounds(low: float, high: float, opset: int, support: str, answer: str) -> None:
    inputs: list[Mapping[str, Any]] = [data(1, 16)]
    attributes = {"min": low, "max": high} if opset < 11 else {}
    if not attributes:
        inputs += [data(values=(low,)), data(values=(high,))]
    found = judged(support, "Clip", inputs, (1, 16), "float32", opset, **attributes)
    assert (found.answer, found.note) == (answer, None), found


@pytest.mark.parametrize(
    ("mode", "nearest", "coordinates", "made", "answer"),
    [
        ("linear", "round_prefer_ceil", "half_pixel", (1, 4, 16, 16), "yes"),
        ("nearest", "floor", "asymmetric", (1, 4, 32, 32), "yes"),
        ("nearest", "round_prefer_floor", "half_pixel", (1, 4, 16, 16), "no"),
        ("linear", "floor", "half_pixel", (1, 4, 24, 24), "no"),
        ("linear", "floor", "half_pixel", (1, 4, 16, 32), "no"),
        ("linear", "floor", "half_pixel", (1, 8, 16, 16), "no"),
    ],
)
def test_resizing_of_tidl(
    mode: str, nearest: str, coordinates: str, made: tuple[int, ...], answer: str
) -> None:
    found = judged(
        "tidl-onnx", "Resize", [data(1, 4, 8, 8)], made, "float32", 17,
        mode=mode, nearest_mode=nearest, coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert (found.answer, found.note) == (answer, None), found


def test_a_tensor_with_itself_and_a_comparison_for_a_branch_stay_off_the_gpu(
    tmp_path: Path,
) -> None:
    graph = Graph()
    x = graph.input("x", [1, 8])
    square = graph.node("MUL", [x, x], "square", [1, 8], "MulOptions")
    most = graph.node("MAXIMUM", [square, square], "most", [1, 8], "MaximumMinimumOptions")
    facts = inspect_model(graph.write(tmp_path / "m.tflite", most))
    table = support_table("litert-gpu")
    assert table is not None
    reasons = {node.operator: node.reason for node in place(facts, table, None).nodes}
    assert reasons == {"MUL": None, "MAXIMUM": "the same tensor is there twice among its inputs"}
    branch = place(inspect_model(GOLDEN / "targets_branch.tflite"), table, None)
    (greater,) = [node for node in branch.nodes if node.operator == "GREATER"]
    assert greater.reason == "IF reads it; it is for CAST or SELECT or SELECT_V2"


def test_reductions_to_a_scalar_stay_off_nnapi() -> None:
    for made, answer in (((1,), "yes"), ((), "no")):
        inputs = [data(1, 8), axes(0, 1)]
        assert judged("litert-nnapi", "MEAN", inputs, made).answer == answer


def test_zero_points_of_a_quantized_onnx_file(tmp_path: Path) -> None:
    table = support_table("onnxruntime-tensorrt")
    assert table is not None
    for zero, answer in ((0, "yes"), (3, "no")):
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ]
        stored = [
            numpy_helper.from_array(np.array(0.1, np.float32), "s"),
            numpy_helper.from_array(np.array(zero, np.int8), "z"),
        ]
        path = tmp_path / f"{zero}.onnx"
        save(path, nodes, [value("x", (1, 8))], [value("y", (1, 8))], stored)
        facts = inspect_model(path)
        found = [judge(node, facts.graphs[0], table, None, {"": 17}) for node in
                 facts.graphs[0].nodes]  # fmt: skip
        assert [verdict.answer for verdict in found] == [answer] * 2, found


@pytest.mark.parametrize(
    "support", ["edge-tpu", "litert-gpu", "litert-nnapi", "vx-delegate", "ethos-u55"]
)
def test_a_small_network_runs_on_no_condition(support: str) -> None:
    table = support_table(support)
    assert table is not None
    placed = place(inspect_model(TINY_TFLITE.with_name("tiny_int8.tflite")), table, None)
    assert [(node.place, node.reason) for node in placed.nodes] == [("accelerator", None)] * 3


def test_a_float_network_of_onnx_runs_on_no_condition() -> None:
    for support in ("onnxruntime-tensorrt", "onnxruntime-nnapi"):
        table = support_table(support)
        assert table is not None
        facts = inspect_model(FASHION / "model.onnx")
        told = [node.reason for node in place(facts, table, None).nodes
                if node.place == "accelerator"]  # fmt: skip
        assert told and set(told) == {None}


@pytest.mark.parametrize(
    ("model", "support", "left"),
    [
        ("lite0-int8", "edge-tpu", {"RESHAPE": 1}),
        ("lite0-int8", "litert-gpu", {}),
        ("lite0-int8", "litert-nnapi", {}),
        ("lite0-int8", "vx-delegate", {}),
        ("lite0-int8", "ethos-u55", {}),
        ("face-landmark", "litert-gpu", {}),
        ("deeplab", "litert-nnapi", {}),
        ("deeplab", "tidl-tflite", {"AVERAGE_POOL_2D": 1}),
    ],
)
def test_what_of_real_networks_is_left_to_conditions(
    model: str, support: str, left: dict[str, int]
) -> None:
    table = support_table(support)
    assert table is not None
    placed = place(inspect_model(third_party(model)), table, None)
    assert placed.count("accelerator") > 0
    noted = [n.operator for n in placed.nodes if n.place == "accelerator" and n.reason]
    assert {name: noted.count(name) for name in noted} == left
