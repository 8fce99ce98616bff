from __future__ import annotations

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.dtypes import tensor_bytes
from edgewright.targets.tally import (
    NodeFacts,
    QuantizedUse,
    Step,
    constant_bytes,
    peak_bytes,
    tally_operators,
    tally_quantized,
)
from edgewright.targets.versions import at_least, first_with_opset, newest_at


def test_shared_constants_count_once_in_a_model_and_once_for_each_operator() -> None:
    nodes = [
        NodeFacts("A", frozenset({"float32"}), 1, {"w": 10}),
        NodeFacts("A", frozenset({"int8"}), 2, {"w": 10, "v": 1}),
        NodeFacts("B", frozenset({"float16"}), None, {"w": 10}),
    ]
    first, second = tally_operators(nodes)
    assert (first.name, first.count, first.macs, first.weight_bytes) == ("A", 2, 3, 11)
    assert (first.dtypes, first.float_count) == (("float32", "int8"), 1)
    assert (second.macs, second.weight_bytes, second.float_count) == (None, 10, 1)
    assert constant_bytes(nodes) == 11


def test_the_largest_weight_is_known_where_all_are() -> None:
    uses = [QuantizedUse("uint8", "int8", True, False, weight) for weight in (3, 70, 5)]
    nodes = [NodeFacts("Conv", frozenset({"uint8"}), quantized=use) for use in uses]
    assert [use.max_weight for use in tally_quantized(nodes)] == [70]
    unread = QuantizedUse("uint8", "int8", True, False, None)
    nodes.insert(1, NodeFacts("Conv", frozenset({"uint8"}), quantized=unread))
    assert [use.max_weight for use in tally_quantized(nodes)] == [None]


def test_sub_byte_types_are_packed() -> None:
    assert tensor_bytes("int4", (3,)) == 2
    assert tensor_bytes("uint2", (5,)) == 2
    assert tensor_bytes("float32", ()) == 4
    assert tensor_bytes("float32", (2, 0)) == 0
    assert tensor_bytes("string", (2,)) is None
    assert tensor_bytes("int8", (2, None)) is None
    assert tensor_bytes("int8", None) is None


def test_the_peak_of_a_chain() -> None:
    sizes: dict[Hashable, int | None] = {"x": 1, "a": 10, "b": 100, "y": 5}
    steps = [Step(["x"], ["a"]), Step(["a"], ["b"]), Step(["b"], ["y"])]
    assert peak_bytes(steps, sizes, ["x"], ["y"]) == 110
    assert peak_bytes(steps, sizes, ["x"], ["y", "a"]) == 115
    assert peak_bytes([*steps[:2], Step(["b"], ["y"], 7)], sizes, ["x"], ["y"]) == 112
    assert peak_bytes([], sizes, ["x"], ["x"]) == 1
    assert peak_bytes(steps, {**sizes, "b": None}, ["x"], ["y"]) is None
    assert peak_bytes([Step(["x"], ["y"], None)], sizes, ["x"], ["y"]) is None


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 12), max_size=3), st.integers(0, 9)),
        min_size=1,
        max_size=12,
    )
)
def test_the_peak_is_that_of_a_simulation(nodes: list[tuple[list[int], int]]) -> None:
    """Tensor i is written by step i - 1; tensor 0 is the input, the last one the output."""
    steps = [Step([r for r in reads if r <= i], [i + 1]) for i, (reads, _) in enumerate(nodes)]
    sizes: dict[Hashable, int | None] = {0: 3}
    sizes.update({i + 1: size for i, (_, size) in enumerate(nodes)})
    highest = 3
    for now in range(len(steps)):
        alive = 0
        for tensor in range(now + 2):
            uses = [i for i, step in enumerate(steps) if tensor in step.reads]
            kept = tensor == len(steps) or (tensor == 0 and not uses)
            if kept or max([tensor - 1, *uses]) >= now:
                alive += sizes[tensor] or 0
        highest = max(highest, alive)
    assert peak_bytes(steps, sizes, [0], [len(steps)]) == highest


def test_versions() -> None:
    assert at_least("1.17", "1.17.0")
    assert at_least("1.20.1", "1.9")
    assert not at_least("1.9", "1.20")
    assert at_least("2.5.0.post1", "2.5")
    assert newest_at({"1.0": 1, "1.2": 2}, "1.1.9") == 1
    assert newest_at({"1.0": 1}, "0.9") is None
    assert first_with_opset(16) == "1.11"
    assert first_with_opset(24) == "1.24"
    assert first_with_opset(10**6) is None
