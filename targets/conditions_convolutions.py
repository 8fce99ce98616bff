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
