"""What LiteRT says of XNNPACK, against what the runtime itself shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from models import DENSE_TFLITE, GOLDEN, TINY_TFLITE
from small_tflite import Graph
from third_party import third_party

from edgewright.profiler.agent.operators_tflite import Watch
from edgewright.targets.inspect import inspect_model
from edgewright.targets.oracles import ORACLES, CannotSay, xnnpack
from edgewright.targets.placement import Placement


def asked(path: Path) -> Placement:
    return ORACLES["xnnpack"](path, inspect_model(path), None)


def indices(placement: Placement, place: str, graph: str = "") -> set[int]:
    return {n.index for n in placement.nodes if n.place == place and n.graph == graph}


@pytest.mark.parametrize("name", ["wakeword", "emotion", "lite0-int8", "movenet", "pitch"])
def test_the_nodes_are_those_that_the_runtime_replaced(name: str) -> None:
    path = third_party(name)
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    shown = [operator["op_name"] for operator in interpreter._get_ops_details()]
    replaced = [step.replaced for step in Watch(interpreter).steps if step.replaced is not None]

    placement = asked(path)

    assert indices(placement, "accelerator") == {node for nodes in replaced for node in nodes}
    assert len(indices(placement, "cpu")) == shown.index("DELEGATE") - len(
        indices(placement, "accelerator")
    )
    assert placement.answer == "asked" and placement.said_by.startswith("LiteRT ")
    # Of the main graph, which is all that the Python API shows; the wake word's second graph, run
    # once to set its state, is one piece.
    others = {n.graph for n in placement.nodes if n.graph and n.place == "accelerator"}
    assert placement.partitions == shown.count("DELEGATE") + len(others)
    assert len(others) == (name == "wakeword")


@pytest.mark.parametrize("path", [TINY_TFLITE, DENSE_TFLITE, GOLDEN / "targets_conv_int8.tflite"])
def test_a_whole_graph_is_one_piece(path: Path) -> None:
    placement = asked(path)
    assert {node.place for node in placement.nodes} == {"accelerator"}
    assert placement.partitions == 1


def test_what_it_does_not_take_is_named_and_splits_the_graph(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", [1, 8])
    weights = graph.constant("w", np.eye(8, dtype=np.float32))
    first = graph.dense(x, weights, "first")
    divided = graph.node("FLOOR_DIV", [first, first], "divided", [1, 8], "FloorDivOptions")
    path = graph.write(tmp_path / "model.tflite", graph.dense(divided, weights, "last"))

    placement = asked(path)

    assert [(n.name, n.place) for n in placement.nodes] == [
        ("first", "accelerator"),
        ("divided", "cpu"),
        ("last", "accelerator"),
    ]
    assert placement.partitions == 2
    assert placement.nodes[1].reason == "XNNPACK leaves it to the kernels of LiteRT"
    assert placement.macs("accelerator") == 128


def test_branches_are_seen_too() -> None:
    placement = asked(GOLDEN / "targets_branch.tflite")
    places = Counter((bool(node.graph), node.operator, node.place) for node in placement.nodes)
    assert places == {
        (False, "SUM", "accelerator"): 1,
        (False, "GREATER", "cpu"): 1,
        (False, "IF", "cpu"): 1,
        (True, "ADD", "accelerator"): 1,
        (True, "BATCH_MATMUL", "accelerator"): 1,
    }
    assert placement.partitions == 3


def test_16_bit_activations_are_left() -> None:
    placement = asked(GOLDEN / "targets_conv_int16.tflite")
    assert {node.place for node in placement.nodes} == {"cpu"}
    assert placement.partitions == 0


def test_a_custom_operator_runs_nowhere_and_the_rest_is_still_told() -> None:
    (custom,) = asked(GOLDEN / "targets_custom.tflite").nodes
    assert (custom.operator, custom.place) == ("custom::Betainc", "nowhere")

    placement = asked(GOLDEN / "targets_flex.tflite")
    assert [(n.operator, n.place) for n in placement.nodes] == [
        ("RESHAPE", "accelerator"),
        ("flex::MatrixDeterminant", "nowhere"),
    ]
    assert "Select TensorFlow op(s)" in placement.notes[0]


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(TINY_TFLITE.read_bytes()[:700])
    with pytest.raises(CannotSay, match="LiteRT"):
        ORACLES["xnnpack"](path, inspect_model(TINY_TFLITE), None)


def test_another_model_than_the_facts_are_of_is_no_yes() -> None:
    with pytest.raises(CannotSay, match="other graphs"):
        ORACLES["xnnpack"](TINY_TFLITE, inspect_model(DENSE_TFLITE), None)


def test_too_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xnnpack, "_TIMEOUT_S", 0.01)
    with pytest.raises(CannotSay, match=r"took longer than 0\.01 s"):
        asked(TINY_TFLITE)
