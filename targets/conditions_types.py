"""Conditions of a support table on element types, of operands by role and by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .case import Case
from .doubt import Doubt
from .dtypes import FLOATS
from .support_rule import OperatorRule

#: Operators that convert between floating point and integers: one side of them is float.
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"})


def not_integer(case: Case) -> Doubt | None:
    """Of floating point where a table takes integers only, whichever operator it is."""
    if not case.table.full_integer or case.node.operator in CONVERSIONS:
        return None
    floats = sorted(set(_types_of(case).all) & FLOATS)
    if not floats:
        return None
    why = f"it computes in {floats[0]}, and the {case.table.title} takes integers only"
    return Doubt("not-full-integer", why, floats[0])


def of_type(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    used, table = _types_of(case), case.table
    if (floating := not_integer(case)) is not None:
        yield floating
        return
    types = table.spelled_out(rule.types or table.types)
    if not types or used.data is None:
        return
    if used.data == "undefined":
        yield Doubt(None, "the type of its input is unknown")
        return
    if any(_fits(wanted, used, types) for wanted in types):
        return
    mixed = used.weights is not None and used.weights != used.data
    paired = any(wanted.startswith(f"{used.data}*") for wanted in types)
    if mixed and used.data in types and not paired:
        yield Doubt(None, f"nobody says whether {used.weights} weights go with {used.data}")
        return
    told = f"activations*weights {used.data}*{used.weights}" if mixed else f"type {used.data}"
    yield Doubt("type-not-supported", f"{told}; it takes {', '.join(types)}", used.data)


def of_operands(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    """The types by position. One that the file does not tell can't be judged."""
    node, view, table = case.node, case.view, case.table
    sides = (("input", node.inputs, rule.inputs), ("output", node.outputs, rule.outputs))
    for side, indices, wanted in sides:
        for position, given in wanted.items():
            if position >= len(indices) or indices[position] < 0:
                continue
            types = table.spelled_out(given)
            used = view.graph.tensors[indices[position]].dtype
            if used == "undefined":
                yield Doubt(None, f"the type of its {side} {position} is unknown")
            elif used not in types:
                yield Doubt(
                    "type-not-supported",
                    f"{side} {position} has type {used}; it takes {', '.join(types)}",
                    used,
                )


@dataclass(frozen=True)
class _Types:
    data: str | None
    weights: str | None
    all: tuple[str, ...]


def _types_of(case: Case) -> _Types:
    """The element types that count: for ONNX accelerators those between QDQ pairs."""
    node, view, table = case.node, case.view, case.table
    tensors = view.graph.tensors
    between = table.role == "accelerator" and table.format == "onnx" and table.fuses_qdq

    def dtype(index: int | None) -> str | None:
        if index is None:
            return None
        return (view.stored(index) if between else tensors[index]).dtype

    def result(index: int) -> str:
        if between:
            readers = view.readers.get(index, [])
            if readers and all(r.operator == "QuantizeLinear" for r in readers):
                return tensors[readers[0].outputs[0]].dtype
        return tensors[index].dtype

    everything = [dtype(i) for i in node.inputs if i >= 0] + [
        result(i) for i in node.outputs if i >= 0
    ]
    return _Types(
        dtype(view.data_input(node)),
        dtype(view.weights_input(node)),
        tuple(name for name in everything if name is not None),
    )


def _fits(wanted: str, used: _Types, types: tuple[str, ...]) -> bool:
    data, star, weights = wanted.partition("*")
    if data != used.data:
        return False
    return used.weights in (None, weights if star else data)
