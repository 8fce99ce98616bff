"""The dimensions that operators work along are those in which NumPy changes or joins shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_making import Making, table
from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.axes import KNOWN, Along, axes_of
from edgewright.targets.case import Case
from edgewright.targets.graph_view import GraphView
from edgewright.targets.judge import judge
from edgewright.targets.profile import Format

Shape = tuple[int, ...]
shapes = st.lists(st.integers(2, 5), min_size=1, max_size=5).map(tuple)


def case(
    operator: str,
    shape: Shape | tuple[int | None, ...] | None,
    operands: list[tuple[int, ...] | None] | None = None,
    made: Shape | None = None,
    opset: int | None = None,
    **attributes: Any,
) -> Case:
    """A node with data of this shape, constants with these values, and an output."""
    making = Making()
    names = [making.tensor("x", shape=shape)]
    for at, values in enumerate(operands or []):
        stored: dict[str, Any] = {"constant": True} if values is None else {"values": values}
        names.append("" if values == () else making.tensor(f"c{at}", "int64", **stored))
    making.tensor("y", shape=made or shape)
    node = making.node(operator, names, ["y"], version=None if opset else 1, **attributes)
    form: Format = "onnx" if opset else "tflite"
    opsets = {"": opset} if opset else None
    return Case(node, GraphView(making.graph()), table(format=form), "1", opsets)


def axes(operator: str, shape: Any, *rest: Any, **more: Any) -> set[int] | None:
    found = axes_of(case(operator, shape, *rest, **more))
    return None if found is None else set(found.axes)


@given(shape=shapes, data=st.data())
def test_reductions(shape: Shape, data: st.DataObject) -> None:
    rank = len(shape)
    chosen = data.draw(st.sets(st.integers(0, rank - 1), min_size=1))
    named = tuple(data.draw(st.sampled_from([axis, axis - rank])) for axis in chosen)
    reduced = np.zeros(shape).mean(named, keepdims=True).shape
    changed = {axis for axis in range(rank) if reduced[axis] != shape[axis]}
    assert axes("MEAN", shape, [named]) == changed == chosen
    assert axes("ReduceMean", shape, [named], opset=18) == changed
    assert axes("ReduceMean", shape, opset=13, axes=named) == changed


@given(shape=shapes, data=st.data())
def test_paddings(shape: Shape, data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    amounts = data.draw(st.lists(pair, min_size=len(shape), max_size=len(shape)))
    padded = np.pad(np.zeros(shape), amounts).shape
    changed = {axis for axis, size in enumerate(shape) if padded[axis] != size}
    flat = tuple(np.array(amounts).reshape(-1).tolist())
    assert axes("PAD", shape, [flat]) == changed
    ends = tuple(np.array(amounts).T.reshape(-1).tolist())
    assert axes("Pad", shape, [ends], opset=13) == changed
    assert axes("Pad", shape, opset=10, pads=ends) == changed


@given(shape=shapes, data=st.data())
def test_joins(shape: Shape, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    one = np.zeros(shape)
    joined = np.concatenate([one, one], axis).shape
    changed = {at for at, size in enumerate(shape) if joined[at] != size}
    assert axes("CONCATENATION", shape, None, joined, axis=axis) == changed
    assert axes("Concat", shape, None, joined, 13, axis=axis) == changed
    new = data.draw(st.integers(-len(shape) - 1, len(shape)))
    packed = np.stack([one, one, one, one, one, one, one], new).shape
    (where,) = (at for at, size in enumerate(packed) if size == 7)
    assert axes("PACK", shape, None, packed, axis=new) == {where}
    assert axes("UNPACK", packed, None, shape, axis=new) == {where}


@given(shape=shapes, data=st.data())
def test_resizing(shape: Shape, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(shape) - 1)))
    made = tuple(size * 2 if at in chosen else size for at, size in enumerate(shape))
    assert axes("Resize", shape, None, made, 18) == chosen
    assert axes("RESIZE_BILINEAR", shape, None, made) == chosen


def test_what_is_left_out() -> None:
    assert axes("ReduceMean", (2, 3), opset=13) == {0, 1}, "all"
    assert axes("ReduceMean", (2, 3), opset=18, noop_with_empty_axes=1) == set()
    assert axes("Softmax", (2, 3, 4), opset=13) == {2}
    assert axes("Softmax", (2, 3, 4), opset=11) == {1}
    assert axes("ArgMax", (2, 3), opset=13) == axes("Gather", (2, 3), opset=13) == {0}
    assert axes("TopK", (2, 3), [(1,)], opset=11) == {1}
    assert axes("LayerNormalization", (2, 3, 4), opset=17) == {2}
    assert axes("LayerNormalization", (2, 3, 4), opset=17, axis=1) == {1, 2}
    assert axes("Squeeze", (1, 3, 1), opset=13) == {0, 2}
    assert axes("SQUEEZE", (1, 3, 1), squeeze_dims=()) == {0, 2}
    assert axes("Pad", (2, 3), [(1, 1), (), (1,)], opset=18) == {1}, "only these axes"


def test_what_is_not_known() -> None:
    assert axes("MEAN", (2, 3), [None]) is None, "axes that are computed, or too many"
    assert axes("MEAN", (2, 3), [(5,)]) is None, "there is no such dimension"
    assert axes("MEAN", None, [(0,)]) is None
    assert axes("PAD", (2, 3), [(1, 1)]) is None, "too few amounts"
    assert axes("Squeeze", (None, 3), opset=13) is None
    assert axes("Concat", (2, 3), opset=13) is None, "no axis"
    assert axes("RESIZE_BILINEAR", (2, 3), None, (6,)) is None


def test_an_open_size_counts_as_resized() -> None:
    assert axes_of(case("Resize", (None, 3), None, None, 18)) == Along(frozenset({0}), (None, 3))


@pytest.mark.parametrize(
    ("rule", "axis", "shape", "answer"),
    [
        ({"none_of": [0, -1]}, 1, (2, 3, 4), "yes"),
        ({"none_of": [0, -1]}, 2, (2, 3, 4), "no"),
        ({"none_of": [0]}, -3, (2, 3, 4), "no"),
        ({"one_of": [-2, -1]}, 1, (2, 3, 4), "yes"),
        ({"one_of": [-2, -1]}, 0, (2, 3, 4), "no"),
        ({"leading": True}, 1, (1, 3, 4), "yes"),
        ({"leading": True}, 1, (2, 3, 4), "no"),
        ({"leading": True}, 1, (None, 3, 4), "unknown"),
        ({"none_of": [0]}, 7, (2, 3, 4), "unknown"),
    ],
)
def test_rules_of_axes(rule: dict[str, Any], axis: int, shape: Any, answer: str) -> None:
    given = case("Gather", shape, [(0,)], opset=17, axis=axis)
    rules = [{"name": "Gather", "axes": rule}]
    about = table(operators=rules, format="onnx", dynamic_shapes=True)
    found = judge(given.node, given.view, about, None, {"": 17})
    assert found.answer == answer, found
    assert found.code == ("axis-not-supported" if answer == "no" else None)


def test_there_are_operators_of_both_formats() -> None:
    assert {"MEAN", "PAD", "Pad", "Concat"} <= KNOWN
