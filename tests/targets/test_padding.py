"""What convolutions and windows pad by: what LiteRT and ONNX's text compute."""

from __future__ import annotations

from typing import Any

from graph_making import Making, table
from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.judge import Verdict, judge

RULE = {"padding_within_width": True}
NONE = {"no_padding": True}


def judged(
    width: int,
    kernel: int,
    opset: int | None = None,
    rule: dict[str, bool] = RULE,
    **attributes: Any,
) -> Verdict:
    making = Making()
    if opset:
        making.tensor("x", shape=(1, 3, 500, width))
        making.tensor("w", shape=(8, 3, 3, kernel), constant=True)
    else:
        making.tensor("x", shape=(1, 500, width, 3))
        making.tensor("w", shape=(8, 3, kernel, 3), constant=True)
    operator = "Conv" if opset else "CONV_2D"
    node = making.node(operator, ["x", "w"], ["y"], version=None if opset else 1, **attributes)
    about = table(operators=[{"name": operator, **rule}], format="onnx" if opset else "tflite")
    return judge(node, making.graph(), about, None, {"": opset} if opset else None)


@given(
    width=st.integers(1, 12),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 4),
)
def test_same(width: int, kernel: int, stride: int, dilation: int) -> None:
    # tensorflow/lite/kernels/padding.h: ComputePaddingWithOffset.
    out = (width + stride - 1) // stride
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - width, 0)
    larger = total // 2 + total % 2
    answer = "yes" if larger <= width else "no"
    options = {"stride_w": stride, "dilation_w_factor": dilation}
    assert judged(width, kernel, padding="SAME", **options).answer == answer
    assert judged(width, kernel, padding="VALID", **options).answer == "yes"
    lists = {"strides": (1, stride), "dilations": (1, dilation)}
    assert judged(width, kernel, 17, auto_pad="SAME_UPPER", **lists).answer == answer
    # Of 500 rows the last step of 4 begins at 496, and a kernel of 3 ends before 500.
    none = "no" if total else "yes"
    tall = {**options, "stride_h": 4, "dilation_h_factor": 1}
    assert judged(width, kernel, rule=NONE, padding="SAME", **tall).answer == none
    assert judged(width, kernel, rule=NONE, padding="VALID", **tall).answer == "yes"
    rows = {"strides": (4, stride), "dilations": (1, dilation)}
    assert judged(width, kernel, 17, rule=NONE, auto_pad="SAME_LOWER", **rows).answer == none


def test_named_amounts() -> None:
    assert judged(4, 3, 17, pads=(9, 1, 9, 4)).answer == "yes"
    found = judged(4, 3, 17, pads=(0, 1, 0, 5))
    assert found.reason == "it pads the width 4 by 5; it takes up to 4"
    assert found.code == "shape-not-supported"
    assert judged(4, 3, 17).answer == "yes", "ONNX pads by nothing where nothing is said"


def test_no_padding_on_either_side() -> None:
    assert judged(4, 3, 17, rule=NONE).answer == "yes"
    found = judged(4, 3, 17, rule=NONE, pads=(0, 0, 1, 0))
    assert (found.code, found.reason) == (
        "attribute-not-supported", "it pads the height; it takes no padding",
    )  # fmt: skip
    making = Making()
    making.tensor("x", shape=(1, 8, 9, 3))
    window = {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2}
    node = making.node("MAX_POOL_2D", ["x"], ["y"], padding="SAME", **window)
    about = table(operators=[{"name": "MAX_POOL_2D", **NONE}])
    found = judge(node, making.graph(), about, None)
    assert found.reason == "it pads the width; it takes no padding", "9 columns in steps of 2"


def test_a_sequence_has_no_height() -> None:
    making = Making()
    making.tensor("x", shape=(1, 3, 8))
    making.tensor("w", shape=(8, 3, 3), constant=True)
    node = making.node("Conv", ["x", "w"], ["y"], version=None, pads=(0, 0))
    about = table(operators=[{"name": "Conv", **NONE}], format="onnx")
    assert judge(node, making.graph(), about, None, {"": 17}).answer == "yes"


def test_what_the_file_does_not_say() -> None:
    assert judged(4, 3).answer == "unknown"
    assert judged(4, 3, rule=NONE).answer == "unknown"
