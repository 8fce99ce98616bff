"""Facts that left the process that reads the file are the facts that it found."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import FASHION
from targets_models import GOLDEN, in_blocks, quantized

from edgewright.targets.facts import (
    Attribute,
    GraphFacts,
    ModelFacts,
    Node,
    Quantization,
    TensorFacts,
    TensorQuantization,
)
from edgewright.targets.facts_json import facts_from_json, facts_to_json
from edgewright.targets.inspect import inspect_model
from edgewright.targets.inspect_onnx import inspect_onnx
from edgewright.targets.inspect_tflite import inspect_tflite

LARGE = 1 << 64


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.tflite")), ids=lambda path: path.stem)
def test_every_golden_file(path: Path) -> None:
    assert inspect_model(path) == inspect_tflite(path)


def test_onnx(tmp_path: Path) -> None:
    for path in (FASHION / "model.onnx", quantized(tmp_path), in_blocks(tmp_path)):
        assert inspect_model(path) == inspect_onnx(path)
        assert inspect_model(path).path is not path


texts = st.text(st.characters(codec="utf-8"), max_size=8)
integers = st.integers(-LARGE, LARGE)
floats = st.floats(allow_nan=False)
attributes: st.SearchStrategy[Attribute] = st.one_of(
    texts,
    integers,
    floats,
    st.booleans(),
    st.lists(integers, max_size=3).map(tuple),
    st.lists(floats, max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
)
quantizations = st.builds(
    TensorQuantization,
    per_channel=st.booleans(),
    axis=st.none() | integers,
    symmetric=st.booleans(),
    parameters=st.none() | st.builds(Quantization, floats, integers),
)
tensors = st.builds(
    TensorFacts,
    name=texts,
    dtype=texts,
    shape=st.none() | st.lists(st.none() | integers, max_size=3).map(tuple),
    quantization=st.none() | quantizations,
    values=st.none()
    | st.lists(integers, max_size=3).map(tuple)
    | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
)
nodes = st.builds(
    Node,
    index=integers,
    operator=texts,
    name=texts,
    version=st.none() | integers,
    inputs=st.lists(integers, max_size=3).map(tuple),
    outputs=st.just(()),
    attributes=st.dictionaries(texts, attributes, max_size=3),
    macs=st.none() | integers,
)


@given(tensor=tensors, node=nodes)
def test_whatever_a_file_says(tensor: TensorFacts, node: Node) -> None:
    facts = with_node(node, tensor)
    back = facts_from_json(facts_to_json(facts))
    assert back == facts
    assert kinds(back) == kinds(facts)


def test_undefined_numbers_come_back() -> None:
    node = Node(0, "Clip", "c", None, (), (), {"max": math.nan, "all": (1.0, math.nan)}, None)
    (graph,) = facts_from_json(facts_to_json(with_node(node))).graphs
    assert repr(graph.nodes[0].attributes) == "{'max': nan, 'all': (1.0, nan)}"


def kinds(facts: ModelFacts) -> list[str]:
    """Attributes and values with their types: 1, 1.0 and True are equal, but not the same."""
    told = [repr(node.attributes) for graph in facts.graphs for node in graph.nodes]
    return told + [repr(t.values) for graph in facts.graphs for t in graph.tensors]


def with_node(node: Node, *tensors: TensorFacts) -> ModelFacts:
    facts = inspect_tflite(GOLDEN / "targets_conv_int8.tflite")
    return replace(facts, graphs=(GraphFacts("", tensors, (node,), (), ()),))
