"""Conditions on shapes, constants, axes, scales and neighbours: met, not met, and not known."""

from __future__ import annotations

from typing import Any

import pytest
from graph_making import Making, table

from edgewright.targets.facts import Quantization, TensorQuantization
from edgewright.targets.judge import Verdict, judge
from edgewright.targets.support_files import support_table

IMAGE = (1, 8, 8, 4)


def judged(
    rule: dict[str, Any],
    operator: str = "CONV_2D",
    inputs: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
    opset: int | None = None,
) -> Verdict:
    """Judges one node with these inputs, by name, and one output."""
    making = Making()
    given = {"x": {"shape": IMAGE}} if inputs is None else inputs
    for name, tensor in given.items():
        making.tensor(name, **tensor)
    making.tensor("y", **({"shape": IMAGE} if output is None else output))
    version = None if opset else 1
    node = making.node(operator, list(given), ["y"], version=version, **(attributes or {}))
    about = table(
        operators=[{"name": operator, **rule}],
        format="onnx" if opset else "tflite",
        dynamic_shapes=True,
    )
    return judge(node, making.graph(), about, None, {"": opset} if opset else None)


@pytest.mark.parametrize(
    ("rule", "shape", "reason"),
    [
        ({"min_rank": 2, "max_rank": 3}, (1, 2), None),
        ({"min_rank": 2}, (1,), "its input 0: rank 1; it takes 2 dimensions or more"),
        ({"max_rank": 3}, IMAGE, "its input 0: rank 4; it takes up to 3 dimensions"),
        ({"max_non_singleton": 1}, (1, 1, 9), None),
        ({"max_non_singleton": 1}, (1, 2, 9), "its input 0: 2 dimensions are larger than 1"),
        ({"non_singleton": (-1,)}, (1, 1, 9), None),
        ({"non_singleton": (-1,)}, (3, 1, 9), "dimension 0 of its input 0 is 3; it takes 1"),
        ({"non_singleton": ()}, (1, 1), None),
        ({"sizes": {-1: {"multiple_of": 4}}}, (1, 8), None),
        ({"sizes": {-1: {"multiple_of": 4}}}, (1, 6), "dimension 1 of its input 0 is 6; it takes"),
        ({"sizes": {3: {"maximum": 8}}}, (1, 900), None),
        ({"max_elements": 24}, (2, 3, 4), None),
        ({"max_elements": 23}, (2, 3, 4), "its input 0 has 24 elements; it takes up to 23"),
        ({"max_elements": 12, "elements_of": [-2, -1]}, (2, 3, 4), None),
        ({"max_elements": 11, "elements_of": [-2, -1]}, (2, 3, 4), "12 elements in the dimensions"),
    ],
)
def test_shapes(rule: dict[str, Any], shape: tuple[int, ...], reason: str | None) -> None:
    about = {"input_shapes": {0: rule}}
    found = judged(about, inputs={"x": {"shape": shape}})
    assert found.answer == ("yes" if reason is None else "no"), found
    assert reason is None or reason in str(found.reason)
    outputs = judged({"output_shapes": {0: rule}}, output={"shape": shape})
    assert outputs.answer == found.answer
    assert judged(about, inputs={"x": {"shape": None}}).answer == "unknown"
    assert judged({"input_shapes": {5: rule}}).answer == "yes", "there is no such input"


@pytest.mark.parametrize(
    "rule",
    [{"non_singleton": (-1,)}, {"sizes": {0: {"maximum": 4}}}, {"max_elements": 100}],
)
def test_open_dimensions_are_no_yes(rule: dict[str, Any]) -> None:
    assert judged({"input_shapes": {0: rule}}, inputs={"x": {"shape": (None, 4)}}).answer == (
        "unknown"
    )


@pytest.mark.parametrize(
    ("same", "second", "answer"),
    [
        ({"of": [0, 1]}, IMAGE, "yes"),
        ({"of": [0, 1]}, (8, 8, 4), "no"),
        ({"of": [0, 1]}, (1, 8, None, 4), "unknown"),
        ({"of": [0, 1]}, (1, None, 9, 4), "no"),
        ({"of": [0, 1]}, None, "unknown"),
        ({"of": [0, 1], "axes": [0]}, (4,), "yes"),
        ({"of": [0, 1], "axes": [0]}, (2, 8, 8, 4), "no"),
        ({"of": [0, 1], "axes": [-1]}, (4,), "yes"),
        ({"of": [0, 1], "axes": [-1]}, (1,), "no"),
        ({"of": [0, 1, "output"], "axes": [-1]}, (4,), "yes"),
        ({"of": [0, 7]}, (1,), "yes"),
    ],
)
def test_shapes_of_several(
    same: dict[str, Any], second: tuple[int | None, ...] | None, answer: str
) -> None:
    inputs = {"x": {"shape": IMAGE}, "b": {"shape": second}}
    found = judged({"same_shapes": [same]}, "ADD", inputs)
    assert found.answer == answer, found
    assert found.code == ("shape-not-supported" if answer == "no" else None)


def test_ranks_of_several() -> None:
    for shape, answer in ((IMAGE, "yes"), ((4,), "no"), (None, "unknown")):
        found = judged({"same_rank": [0, "output"]}, output={"shape": shape})
        assert found.answer == answer, found


@pytest.mark.parametrize(
    ("made", "answer"),
    [
        ((1, 16, 16, 4), "yes"),
        ((1, 8, 8, 4), "no"),
        ((1, 16, 32, 4), "no"),
        ((1, 12, 12, 4), "no"),
        ((1, None, 16, 4), "unknown"),
        (None, "unknown"),
    ],
)
def test_factors_of_resizing(made: tuple[int | None, ...] | None, answer: str) -> None:
    rule = {"factors": {"axes": [1, 2], "one_of": [2, 4], "same": True}}
    assert judged(rule, "RESIZE_BILINEAR", output={"shape": made}).answer == answer
    free = {"factors": {"axes": [1, 2], "one_of": [2, 4]}}
    assert judged(free, "RESIZE_BILINEAR", output={"shape": (1, 16, 32, 4)}).answer == "yes"


def test_values_of_constants() -> None:
    rule = {"values": {1: {"minimum": 0}}}

    def of(**steps: Any) -> Verdict:
        return judged(rule, "STRIDED_SLICE", {"x": {}, "steps": steps})

    assert of(values=(0, 2)).answer == "yes"
    negative = of(values=(1, -1))
    assert (negative.code, negative.reason) == (
        "value-not-supported",
        "its input 1 holds -1; it takes at least 0",
    )
    assert of(constant=True).answer == of(constant=False).answer == "unknown"
    assert judged(rule, "STRIDED_SLICE").answer == "yes", "it is left out"
    above = {"values": {1: {"above": 0}}}
    assert judged(above, "Clip", {"x": {}, "high": {"values": (0.0,)}}).answer == "no"


def test_reshapes_that_allow_zeros_and_have_none() -> None:
    about = support_table("tidl-onnx")
    assert about is not None

    def answer(allowzero: int, *shape: int, constant: bool = True) -> Verdict:
        making = Making()
        making.tensor("x", shape=(2, 3, 4))
        making.tensor("s", "int64", (len(shape),), values=shape if constant else None)
        node = making.node("Reshape", ["x", "s"], ["y"], version=None, allowzero=allowzero)
        return judge(node, making.graph(), about, None, {"": 18})

    assert answer(1, 2, -1).answer == "yes", "as torch's exporter writes it"
    assert answer(0, 0, -1).answer == "yes"
    refused = answer(1, 0, -1)
    assert (refused.answer, refused.reason) == ("no", "allowzero is 1; it takes 0")
    assert answer(1, 2, -1, constant=False).code == "input-not-constant"


def test_constant_and_computed_inputs() -> None:
    stored = {"x": {}, "w": {"constant": True}}
    assert judged({"computed_inputs": [1]}, inputs=stored).code == "operands-not-supported"
    assert judged({"computed_inputs": "all"}, inputs=stored).answer == "no"
    assert judged({"computed_inputs": [0]}, inputs=stored).answer == "yes"
    assert judged({"computed_inputs": "all"}, inputs={"x": {}, "w": {}}).answer == "yes"


def test_the_same_tensor_twice_and_further_outputs() -> None:
    making = Making()
    square = making.node("MUL", ["x", "x"], ["y"])
    pool = making.node("MaxPool", ["y"], ["z", "indices"])
    alone = making.node("MaxPool", ["y"], ["u", ""])
    rules = [{"name": "MUL", "distinct_inputs": True}, {"name": "MaxPool", "max_outputs": 1}]
    about, graph = table(operators=rules), making.graph()
    assert judge(square, graph, about, None).code == "operands-not-supported"
    assert judge(pool, graph, about, None).code == "operands-not-supported"
    assert judge(alone, graph, about, None).answer == "yes"


def per_tensor(scale: float, zero_point: int) -> TensorQuantization:
    return TensorQuantization(False, None, zero_point == 0, Quantization(scale, zero_point))


CHANNELS = TensorQuantization(True, 0, symmetric=True)
#: Zero points that the file computes.
COMPUTED = TensorQuantization(False, None, symmetric=False)


@pytest.mark.parametrize(
    ("dtype", "quantization", "answer"),
    [
        ("int8", per_tensor(0.1, 0), "yes"),
        ("uint8", per_tensor(0.1, 0), "yes"),
        ("uint8", per_tensor(0.1, 128), "no"),
        ("int8", per_tensor(0.1, -3), "no"),
        ("int8", CHANNELS, "yes"),
        ("uint8", CHANNELS, "no"),
        ("int8", COMPUTED, "unknown"),
        ("int8", None, "unknown"),
        ("float32", None, "yes"),
    ],
)
def test_zero_points(dtype: str, quantization: TensorQuantization | None, answer: str) -> None:
    integers = {"dtype": dtype, "quantization": quantization}
    for operator, inputs, output in (
        ("DequantizeLinear", {"x": integers}, {}),
        ("QuantizeLinear", {"x": {}}, integers),
    ):
        found = judged({"no_zero_points": True}, operator, inputs, output, opset=17)
        assert found.answer == answer, found


def test_numbers_of_scales() -> None:
    for quantization, most, answer in (
        (None, 0, "yes"),
        (per_tensor(1, 0), 0, "no"),
        (per_tensor(1, 0), 1, "yes"),
        (CHANNELS, 1, "no"),
    ):
        given = {"x": {"dtype": "int8", "quantization": quantization}}
        found = judged({"most_scales": {0: most}}, "DEQUANTIZE", given)
        assert found.answer == answer, (quantization, most)
        assert found.code == ("scales-not-supported" if answer == "no" else None)


def test_shared_scales() -> None:
    for made, answer in (
        (per_tensor(0.1, 3), "yes"),
        (per_tensor(0.2, 3), "no"),
        (None, "unknown"),
    ):
        given = {"x": {"quantization": per_tensor(0.1, 3)}}
        found = judged({"shared_scales": True}, "MAXIMUM", given, {"quantization": made})
        assert found.answer == answer


def test_attributes_with_one_value_together() -> None:
    pair = {"same_attributes": [["stride_w", "stride_h"]]}
    assert judged(pair, attributes={"stride_w": 2, "stride_h": 2}).answer == "yes"
    found = judged(pair, attributes={"stride_w": 2, "stride_h": 1})
    assert found.reason == "stride_w and stride_h are 2, 1; it takes the same in each place"
    assert judged(pair, attributes={"stride_w": 2}).answer == "unknown"
    listed = {"same_attributes": [["strides"]]}
    for strides, answer in (((2, 2), "yes"), ((2, 1), "no")):
        assert judged(listed, "Conv", attributes={"strides": strides}, opset=17).answer == answer
    assert judged(listed, "Conv", opset=17).answer == "yes", "1 in each direction by default"


def test_attributes_that_may_not_be_given() -> None:
    rule = {"absent_attributes": ["axes"]}
    assert judged(rule, "Resize", opset=18).answer == "yes"
    given = judged(rule, "Resize", attributes={"axes": (2, 3)}, opset=18)
    assert given.code == "attribute-not-supported"


@pytest.mark.parametrize(
    ("operator", "weights", "group", "expected"),
    [
        ("Conv", (8, 1, 3, 3), 8, True),
        ("Conv", (8, 2, 3, 3), 4, False),
        ("Conv", (8, 8, 3, 3), 1, False),
        ("Conv", None, 4, None),
        ("ConvTranspose", (8, 1, 3, 3), 8, True),
        ("ConvTranspose", (8, 1, 3, 3), 2, False),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), None, True),
        ("CONV_2D", (8, 3, 3, 4), None, False),
        ("CONV_2D", (8, 3, 3, 1), None, True),
    ],
)
def test_depthwise_convolutions(
    operator: str, weights: tuple[int, ...] | None, group: int | None, expected: bool | None
) -> None:
    inputs = {"x": {"shape": IMAGE}, "w": {"shape": weights, "constant": True}}
    attributes = {} if group is None else {"group": group}
    for wanted in (True, False):
        answer = "unknown" if expected is None else "yes" if expected == wanted else "no"
        opset = None if operator.isupper() else 17
        found = judged({"depthwise": wanted}, operator, inputs, None, attributes, opset)
        assert found.answer == answer, found


COMPARED = {"read_by": {"operators": ["CAST"], "types": ["float32"], "most": 1}}


def test_who_reads_the_output() -> None:
    def of(readers: list[tuple[str, str]], outputs: tuple[str, ...] = ()) -> Verdict:
        making = Making()
        node = making.node("LESS", ["x"], ["y"])
        for at, (operator, dtype) in enumerate(readers):
            making.tensor(f"z{at}", dtype)
            making.node(operator, ["y"], [f"z{at}"])
        about = table(operators=[{"name": "LESS", **COMPARED}])
        return judge(node, making.graph(outputs=outputs), about, None)

    assert of([("CAST", "float32")]).answer == "yes"
    assert of([("IF", "float32")]).code == "neighbour-not-supported"
    assert of([("CAST", "int32")]).answer == "no"
    assert of([("CAST", "float32"), ("CAST", "float32")]).answer == "no"
    assert of([], outputs=("y",)).answer == "no"
    assert of([("CAST", "float32")], outputs=("y",)).answer == "yes"


def test_who_made_the_input() -> None:
    making = Making()
    making.node("LESS", ["a"], ["x"])
    node = making.node("CAST", ["x"], ["y"])
    other = making.node("CAST", ["a"], ["z"])
    about = table(operators=[{"name": "CAST", "made_by": {0: ["LESS"]}}])
    assert judge(node, making.graph(), about, None).answer == "yes"
    found = judge(other, making.graph(), about, None)
    assert (found.code, found.answer) == ("neighbour-not-supported", "no")


def test_of_rules_that_hold_one_without_a_note_is_taken() -> None:
    making = Making()
    node = making.node("ADD", ["x"], ["y"])
    rules = [{"name": "ADD", "note": "if small"}, {"name": "ADD", "max_rank": 4}]
    assert judge(node, making.graph(), table(operators=rules), None).note is None
    stricter = [rules[0], {"name": "ADD", "max_rank": 2}]
    assert judge(node, making.graph(), table(operators=stricter), None).note == "if small"
