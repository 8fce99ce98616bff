"""What ONNX Runtime says of its CPU's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import FASHION, TINY_TFLITE
from onnx import TensorProto, helper
from third_party import third_party

from edgewright.targets.inspect import inspect_model
from edgewright.targets.oracles import ORACLES, CannotSay
from edgewright.targets.placement import Placement

DOUBLE, FLOAT = TensorProto.DOUBLE, TensorProto.FLOAT


def asked(path: Path) -> Placement:
    return ORACLES["onnxruntime"](path, inspect_model(path), None)


def value(name: str, dtype: int, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape or None)


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: Any) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", more.get("opset", 17)), helper.make_opsetid("my.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


def places(placement: Placement) -> list[tuple[str, str]]:
    return [(node.operator, node.place) for node in placement.nodes]


@pytest.mark.parametrize("name", ["vad", "vad-half", "pitch-onnx", "minilm-int8"])
def test_models_that_load_have_a_kernel_for_every_node(name: str) -> None:
    placement = asked(third_party(name))
    assert {node.place for node in placement.nodes} == {"cpu"}
    assert placement.answer == "asked" and placement.said_by.startswith("ONNX Runtime ")


def test_every_node_without_a_kernel_is_told(tmp_path: Path) -> None:
    """ONNX Runtime names the first one only; the kernels for float64 leave out Conv and Elu."""
    path = save(
        tmp_path / "model.onnx",
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Conv", ["a", "w"], ["b"], name="same"),
            helper.make_node("Elu", ["b"], ["c"], name="same"),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        [value("x", DOUBLE, 1, 3, 8, 8), value("w", DOUBLE, 4, 3, 3, 3)],
        [value("y", DOUBLE)],
    )
    placement = asked(path)
    assert places(placement) == [
        ("Relu", "cpu"),
        ("Conv", "nowhere"),
        ("Elu", "nowhere"),
        ("Relu", "cpu"),
    ]
    assert "Could not find an implementation for Conv(11)" in str(placement.nodes[1].reason)


def test_a_node_of_a_branch_is_told(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        node = helper.make_node(operator, ["x"], [f"of {operator}"])
        return helper.make_graph([node], operator, [], [value(f"of {operator}", DOUBLE, 4)])

    choice = helper.make_node(
        "If", ["c"], ["y"], name="if", then_branch=branch("Elu"), else_branch=branch("Relu")
    )
    path = save(
        tmp_path / "model.onnx",
        [choice],
        [value("c", TensorProto.BOOL, 1), value("x", DOUBLE, 4)],
        [value("y", DOUBLE, 4)],
    )
    told = {(node.graph, node.operator): node.place for node in asked(path).nodes}
    assert told == {
        ("", "If"): "cpu",
        ("if/then_branch", "Elu"): "nowhere",
        ("if/else_branch", "Relu"): "cpu",
    }


def test_a_custom_operator_leaves_the_rest_unknown(tmp_path: Path) -> None:
    """Nobody knows what type it gives, so that the others can't be asked about."""
    path = save(
        tmp_path / "model.onnx",
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Mine", ["a"], ["y"], domain="my.domain"),
        ],
        [value("x", FLOAT, 4)],
        [value("y", FLOAT, 4)],
    )
    relu, custom = asked(path).nodes
    assert (custom.operator, custom.place) == ("my.domain::Mine", "nowhere")
    assert "my.domain:Mine(-1) is not a registered function/op" in str(custom.reason)
    # The model's output says its type: it can be put in place of the node.
    assert relu.place == "cpu"


def test_a_model_that_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = save(
        tmp_path / "model.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", FLOAT, 4)],
        [value("y", FLOAT, 4)],
        opset=99,
    )
    with pytest.raises(CannotSay, match="Opset 99 is under development"):
        asked(path)


def test_weights_beside_the_model_are_found(tmp_path: Path) -> None:
    weights = helper.make_tensor("w", DOUBLE, [4, 4], np.eye(4).tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Elu", ["a"], ["y"])],
        "g",
        [value("x", DOUBLE, 1, 4)],
        [value("y", DOUBLE, 1, 4)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "model.onnx"
    onnx.save(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert (tmp_path / "weights.bin").stat().st_size >= 128
    assert places(asked(path)) == [("MatMul", "cpu"), ("Elu", "nowhere")]


def test_another_format_is_refused_in_words() -> None:
    with pytest.raises(CannotSay, match="not an ONNX model"):
        ORACLES["onnxruntime"](TINY_TFLITE, inspect_model(FASHION / "model.onnx"), None)
