"""Which dimensions an operator works along, whatever way the format says it.

TFLite: schema.fbs and the kernels (axes are operands of reductions, options of others); ONNX: the
operators' text (attributes, and operands since opset 11, 13 or 18).
"""

from __future__ import annotations

from dataclasses import dataclass

from .case import Case
from .facts import Attribute

#: Where the axes are an operand: its position.
_OPERAND = {
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL",
         "ARG_MAX", "ARG_MIN"), 1),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
         "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Squeeze"), 1),
}  # fmt: skip

#: Where they are an attribute; of the ONNX operators above, in older opsets.
_ATTRIBUTE = {
    "SQUEEZE": "squeeze_dims",
    **dict.fromkeys(("CONCATENATION", "PACK", "UNPACK"), "axis"),
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "Concat", "Gather", "LayerNormalization", "Softmax", "TopK"), "axis"
    ),
}

#: Operators whose axes are the output's dimensions.
_OF_OUTPUT = frozenset({"CONCATENATION", "Concat", "PACK"})

#: Operators that take all dimensions where none is named; those of size 1.
_ALL = frozenset(name for name in _OPERAND if name.startswith("Reduce"))
_SINGLE = frozenset({"SQUEEZE", "Squeeze"})

#: Padding operators; the amounts are the second operand (of ONNX before opset 11 an attribute).
_PADDING = frozenset({"PAD", "PADV2", "MIRROR_PAD", "Pad"})

#: Operators that change sizes in place.
_RESIZING = frozenset({"Resize", "Upsample", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"})

#: All operators whose dimensions can be told.
KNOWN = frozenset(_OPERAND) | frozenset(_ATTRIBUTE) | _PADDING | _RESIZING


@dataclass(frozen=True)
class Along:
    """The dimensions, counted from the first one, and the shape that they belong to."""

    axes: frozenset[int]
    shape: tuple[int | None, ...]


def axes_of(case: Case) -> Along | None:
    """The dimensions that a node works along; None where they are not known from the file."""
    operator = case.node.operator
    tensor = case.output(0) if operator in _OF_OUTPUT else case.input(0)
    if tensor is None or tensor.shape is None:
        return None
    shape = tensor.shape
    if operator in _RESIZING:
        made = case.output(0)
        if made is None or made.shape is None or len(made.shape) != len(shape):
            return None
        pairs = zip(shape, made.shape, strict=True)
        return Along(frozenset(at for at, (a, b) in enumerate(pairs) if a != b or a is None), shape)
    found = _padded(case, len(shape)) if operator in _PADDING else _named(case, shape)
    if found is None or any(not -len(shape) <= axis < len(shape) for axis in found):
        return None
    axes = {axis % len(shape) for axis in found}
    if operator == "LayerNormalization":
        axes = set(range(min(axes, default=0), len(shape)))
    return Along(frozenset(axes), shape)


def _named(case: Case, shape: tuple[int | None, ...]) -> tuple[int, ...] | None:
    operator = case.node.operator
    position = _OPERAND.get(operator)
    operand = None if position is None else case.input(position)
    if operand is not None:
        found = _whole(operand.values)
        if found is None:
            return None
    elif case.table.format == "tflite" and position is not None:
        return None
    else:
        given = case.attribute(_ATTRIBUTE.get(operator, "axes"))
        listed = (given,) if isinstance(given, int) else _whole(given)
        if listed is None and not (operator in _ALL | _SINGLE and given is None):
            return None
        found = listed or ()
    if not found and operator in _ALL:
        return () if case.attribute("noop_with_empty_axes") else tuple(range(len(shape)))
    if not found and operator in _SINGLE:
        return None if None in shape else tuple(at for at, size in enumerate(shape) if size == 1)
    return found


def _padded(case: Case, rank: int) -> tuple[int, ...] | None:
    """The dimensions that get more or fewer: TFLite has pairs, ONNX all beginnings, then ends."""
    operand = case.input(1)
    given = case.attribute("pads") if operand is None else operand.values
    amounts = _whole(given if isinstance(given, tuple) else None)
    axes: tuple[int, ...] | None = tuple(range(rank))
    if case.table.format == "onnx" and (named := case.input(3)) is not None:
        axes = _whole(named.values)
    if amounts is None or axes is None or len(amounts) != 2 * len(axes):
        return None
    if case.table.format == "onnx":
        pairs = zip(amounts[: len(axes)], amounts[len(axes) :], strict=True)
    else:
        pairs = zip(amounts[::2], amounts[1::2], strict=True)
    return tuple(axis for axis, pair in zip(axes, pairs, strict=True) if any(pair))


def _whole(values: Attribute | None) -> tuple[int, ...] | None:
    """Whole numbers; None where they are none."""
    if not isinstance(values, tuple):
        return None
    whole = tuple(value for value in values if isinstance(value, int))
    return whole if len(whole) == len(values) else None
