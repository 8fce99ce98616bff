"""Conditions of a support table on scales and zero points."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case, told
from .doubt import Doubt
from .dtypes import FLOATS
from .facts import TensorFacts
from .support_rule import OperatorRule


def of_channels(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    wanted = rule.per_channel if rule.per_channel is not None else case.table.per_channel
    index = case.view.weights_input(case.node)
    if wanted is None or index is None:
        return
    stored = case.view.stored(index)
    if stored.quantization is None or stored.quantization.per_channel == wanted:
        return
    has, takes = ("one scale", "more") if wanted else ("a scale for each channel", "one")
    yield Doubt("per-channel-not-supported", f"its weights have {has}; it takes {takes}")


def of_scales(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for which, most in rule.most_scales.items():
        tensor = case.operand(which)
        if tensor is None or tensor.quantization is None:
            continue
        many = tensor.quantization.per_channel
        if many or not most:
            has = "a scale for each channel" if many else "a scale"
            takes = "one" if most else "values that are not quantized"
            yield Doubt("scales-not-supported", f"{told(which)} has {has}; it takes {takes}")


def of_zero_points(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if not rule.no_zero_points:
        return
    for tensor in (case.input(0), case.output(0)):
        if tensor is None or tensor.dtype in FLOATS:
            continue
        none = _has_none(tensor)
        if none is None:
            yield Doubt(None, f"the zero points of {tensor.name} are unknown")
        elif not none:
            yield Doubt("scales-not-supported", f"{tensor.name} has zero points other than 0")


def _has_none(tensor: TensorFacts) -> bool | None:
    """Whether every zero point is 0; None where that is not known."""
    how = tensor.quantization
    if how is None:
        return None
    if how.parameters is not None:
        return how.parameters.zero_point == 0
    # Of unsigned types the middle of the range counts as symmetric.
    return not tensor.dtype.startswith("uint") if how.symmetric else None


def of_shared_scales(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if not rule.shared_scales:
        return
    indices = [i for i in (*case.node.inputs, *case.node.outputs) if i >= 0]
    tensors = [case.view.graph.tensors[i] for i in indices]
    found = {None if t.quantization is None else t.quantization.parameters for t in tensors}
    if len(found - {None}) > 1:
        why = "its inputs and outputs have different scales or zero points; it takes the same"
        yield Doubt("scales-not-supported", why)
    elif None in found:
        yield Doubt(None, "whether its inputs and outputs share scale and zero point is unknown")
