"""Conditions of a support table that are about convolutions alone."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule


def of_depthwise(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if rule.depthwise is None:
        return
    found = _is_depthwise(case)
    if found is None:
        yield Doubt(None, "whether it is depthwise is unknown")
    elif found != rule.depthwise:
        is_one, wanted = ("", "others") if found else ("not ", "such")
        yield Doubt("attribute-not-supported", f"it is {is_one}depthwise; it takes {wanted}")


def of_padding(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if not rule.padding_within_width:
        return
    padding, width = _padding(case), _width(case)
    if padding is None or width is None:
        yield Doubt(None, "its padding, or the width of its input, is unknown")
    elif padding > width:
        yield Doubt(
            "shape-not-supported", f"it pads the width {width} by {padding}; it takes up to {width}"
        )


def _is_depthwise(case: Case) -> bool | None:
    """One group for each channel; an ONNX convolution of one channel is none.

    Weights are [outputs, inputs / groups, ...] of a Conv, [inputs, outputs / groups, ...] of a
    ConvTranspose, and [outputs, height, width, inputs / groups] of a CONV_2D.
    """
    operator, data, weights = case.node.operator, case.input(0), case.input(1)
    if operator == "DEPTHWISE_CONV_2D":
        return True
    group = case.attribute("group") if case.table.format == "onnx" else None
    if group == 1:
        return False
    if weights is None or not weights.shape or len(weights.shape) < 2:
        return None
    if case.table.format == "tflite":
        channels = data.shape[-1] if data is not None and data.shape else None
        inputs = weights.shape[-1]
        return None if channels is None or inputs is None else inputs == 1 < channels
    if operator == "ConvTranspose":
        return None if weights.shape[0] is None else weights.shape[0] == group
    return None if weights.shape[1] is None else weights.shape[1] == 1


def _width(case: Case) -> int | None:
    data = case.input(0)
    if data is None or not data.shape or len(data.shape) < 3:
        return None
    return data.shape[-2] if case.table.format == "tflite" else data.shape[-1]


def _padding(case: Case) -> int | None:
    """The larger padding of the width's two ends; half of what SAME adds, rounded up."""
    tflite = case.table.format == "tflite"
    how = case.attribute("padding" if tflite else "auto_pad")
    if how == "VALID":
        return 0
    if how == "NOTSET":
        pads = case.attribute("pads")
        if not isinstance(pads, tuple):
            return pads if isinstance(pads, int) else None
        ends = (pads[len(pads) // 2 - 1], pads[-1])
        return max(int(end) for end in ends)
    weights, width = case.input(1), _width(case)
    if weights is None or not weights.shape or len(weights.shape) < 3 or width is None:
        return None
    kernel = weights.shape[-2] if tflite else weights.shape[-1]
    stride = _last(case, "stride_w" if tflite else "strides")
    dilation = _last(case, "dilation_w_factor" if tflite else "dilations")
    if kernel is None or not stride or dilation is None:
        return None
    reach = (-(-width // stride) - 1) * stride + (kernel - 1) * dilation + 1
    return (max(reach - width, 0) + 1) // 2


def _last(case: Case, name: str) -> int | None:
    value = case.attribute(name)
    last = value[-1] if isinstance(value, tuple) and value else value
    return last if isinstance(last, int) else None
