"""Conditions of a support table on what convolutions and windows pad their input by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule

#: One side of a picture.
Side = Literal["height", "width"]

#: How TFLite's options call a side.
_LETTERS: dict[Side, str] = {"height": "h", "width": "w"}

#: Where a side is, from the last dimension of a picture.
_PLACES: dict[Side, int] = {"height": -2, "width": -1}


def of_padding(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if rule.padding_within_width:
        padding, width = _padding(case, "width"), _size(case, 0, "width")
        if padding is None or width is None:
            yield Doubt(None, "its padding, or the width of its input, is unknown")
        elif padding > width:
            yield Doubt(
                "shape-not-supported",
                f"it pads the width {width} by {padding}; it takes up to {width}",
            )
    if rule.no_padding:
        for side in _LETTERS:
            padding = _padding(case, side)
            if padding is None:
                yield Doubt(None, f"by what it pads the {side} is unknown")
            elif padding:
                yield Doubt("attribute-not-supported", f"it pads the {side}; it takes no padding")


def _padding(case: Case, side: Side) -> int | None:
    """The larger padding of a side's two ends; half of what SAME adds, rounded up."""
    tflite = case.table.format == "tflite"
    how = case.attribute("padding" if tflite else "auto_pad")
    if how == "VALID":
        return 0
    place = _PLACES[side]
    data = case.input(0)
    if data is not None and data.shape is not None and len(data.shape) - 2 < -place:
        return 0  # a sequence has no height
    if how == "NOTSET":
        pads = case.attribute("pads")
        if not isinstance(pads, tuple):
            return pads if isinstance(pads, int) else None
        ends = (pads[len(pads) // 2 + place], pads[place])
        return max(int(end) for end in ends)
    size, kernel = _size(case, 0, side), _kernel(case, side)
    stride = _along(case, f"stride_{_LETTERS[side]}" if tflite else "strides", place)
    dilation = _dilation(case, side)
    if size is None or kernel is None or not stride or dilation is None:
        return None
    reach = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    return (max(reach - size, 0) + 1) // 2


def _is_window(case: Case) -> bool:
    """Whether it is a pooling of TFLite, which gives its window as options."""
    return "filter_width" in case.node.attributes


def _kernel(case: Case, side: Side) -> int | None:
    if _is_window(case):
        return _along(case, f"filter_{side}", -1)
    return _size(case, 1, side)


def _dilation(case: Case, side: Side) -> int | None:
    if _is_window(case):
        return 1
    if case.table.format == "tflite":
        return _along(case, f"dilation_{_LETTERS[side]}_factor", -1)
    return _along(case, "dilations", _PLACES[side])


def _size(case: Case, position: int, side: Side) -> int | None:
    """A side of an input: of pictures, and of weights that lie as pictures do."""
    tensor = case.input(position)
    if tensor is None or not tensor.shape or len(tensor.shape) < 3:
        return None
    place = _PLACES[side] - (case.table.format == "tflite")
    return tensor.shape[place] if len(tensor.shape) >= -place else None


def _along(case: Case, name: str, place: int) -> int | None:
    """A setting of one side: its own, or one of a list."""
    value = case.attribute(name)
    if isinstance(value, tuple):
        value = value[place] if len(value) >= -place else None
    return value if isinstance(value, int) else None
