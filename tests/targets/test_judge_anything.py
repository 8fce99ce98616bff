"""Whatever a file says of a node, every table has an answer, with a reason unless it is yes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.targets.facts import (
    Attribute,
    GraphFacts,
    Node,
    Quantization,
    TensorFacts,
    TensorQuantization,
)
from edgewright.targets.judge import judge
from edgewright.targets.support_files import support_table
from edgewright.targets.support_rule import OperatorRule

SUPPORT = Path(str(resources.files("edgewright.targets.support")))
IDS = sorted(path.stem for path in SUPPORT.glob("*.toml"))

numbers = st.integers(-3, 9) | st.sampled_from([1 << 40, -(1 << 63)])
values: st.SearchStrategy[tuple[int, ...] | tuple[float, ...] | None] = st.one_of(
    st.none(),
    st.lists(numbers, max_size=9).map(tuple),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
)
attributes: st.SearchStrategy[Attribute] = st.one_of(
    numbers,
    st.floats(),
    st.booleans(),
    st.sampled_from(["SAME", "VALID", "NOTSET", "linear", "inf", ""]),
    st.lists(numbers, max_size=5).map(tuple),
    st.lists(st.floats(), max_size=3).map(tuple),
    st.lists(st.sampled_from(["a", "tanh"]), max_size=2).map(tuple),
)
quantizations = st.none() | st.builds(
    TensorQuantization,
    per_channel=st.booleans(),
    axis=st.none() | st.integers(0, 3),
    symmetric=st.booleans(),
    parameters=st.none() | st.builds(Quantization, st.just(0.5), st.integers(-3, 200)),
)
tensors = st.builds(
    TensorFacts,
    name=st.just("t"),
    dtype=st.sampled_from(["float32", "int8", "uint8", "int32", "bool", "string", "undefined"]),
    shape=st.none() | st.lists(st.none() | st.integers(0, 9), max_size=6).map(tuple),
    constant=st.none() | st.just("c"),
    quantization=quantizations,
    values=values,
)


def named(rule: OperatorRule) -> list[str]:
    """Attributes that the rule, or what it asks for besides, may look at."""
    together = [name for names in rule.same_attributes for name in names]
    besides = ["axis", "axes", "pads", "padding", "auto_pad", "strides", "dilations", "group"]
    besides += ["stride_w", "dilation_w_factor", "squeeze_dims", "noop_with_empty_axes"]
    return [*rule.attributes, *rule.absent_attributes, *together, *besides]


@pytest.mark.parametrize("support", IDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_table_answers(support: str, data: st.DataObject) -> None:
    table = support_table(support)
    assert table is not None
    if not table.operators:
        pytest.skip("it lists none")
    telling = [rule for rule in table.operators if len(rule.model_fields_set) > 1]
    rule = data.draw(st.sampled_from(telling or list(table.operators)))
    given = tuple(data.draw(st.lists(tensors, min_size=1, max_size=6)))
    indices = st.lists(st.integers(-1, len(given) - 1), max_size=6).map(tuple)
    names = st.dictionaries(st.sampled_from(named(rule)), attributes, max_size=6)
    beside = data.draw(st.sampled_from([rule.name, "CAST", "LESS", "DynamicQuantizeLinear"]))
    version = None if table.format == "onnx" else data.draw(st.integers(1, 12))
    nodes = tuple(
        Node(at, name, "n", version, data.draw(indices), data.draw(indices), data.draw(names), None)
        for at, name in enumerate((rule.name, beside))
    )
    graph = GraphFacts("", given, nodes, (), ())
    opsets = data.draw(st.none() | st.fixed_dictionaries({"": st.integers(1, 26)}))
    verdict = judge(nodes[0], graph, table, None, opsets)
    assert (verdict.answer == "yes") == (verdict.reason is None)
    assert (verdict.answer == "no") == (verdict.code is not None)
