"""What a convolution pads its width by: what LiteRT and ONNX's text compute."""

from __future__ import annotations

from typing import Any

from graph_making import Making, table
from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.judge import Verdict, judge

RULE = {"padding_within_width": True}


def judged(width: int, kernel: int, opset: int | None = None, **attributes: Any) -> Verdict:
    making = Making()
    if opset:
        making.tensor("x", shape=(1, 3, 500, width))
        making.tensor("w", shape=(8, 3, 3, kernel), constant=True)
    else:
        making.tensor("x", shape=(1, 500, width, 3))
        making.tensor("w", shape=(8, 3, kernel, 3), constant=True)
    operator = "Conv" if opset else "CONV_2D"
    node = making.node(operator, ["x", "w"], ["y"], version=None if opset else 1, **attributes)
    about = table(operators=[{"name": operator, **RULE}], format="onnx" if opset else "tflite")
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


def test_named_amounts() -> None:
    assert judged(4, 3, 17, pads=(9, 1, 9, 4)).answer == "yes"
    found = judged(4, 3, 17, pads=(0, 1, 0, 5))
    assert found.reason == "it pads the width 4 by 5; it takes up to 4"
    assert found.code == "shape-not-supported"
    assert judged(4, 3, 17).answer == "yes", "ONNX pads by nothing where nothing is said"


def test_what_the_file_does_not_say() -> None:
    assert judged(4, 3).answer == "unknown"
