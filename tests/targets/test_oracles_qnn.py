"""What the QNN execution provider says of models, on a host without its chip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import need_extra
from models import conv_net, save_onnx
from onnx import helper
from targets_models import quantized

from edgewright.targets.inspect import inspect_model
from edgewright.targets.oracles import ORACLES, CannotSay
from edgewright.targets.oracles.asking import installed
from edgewright.targets.placement import Placement
from edgewright.targets.profile import Accelerator


@pytest.fixture(autouse=True)
def _qnn() -> None:
    need_extra("qnn", ["onnxruntime_qnn"])


def asked(path: Path, **options: str) -> Placement:
    accelerator = Accelerator(
        id="npu",
        name="Hexagon",
        kind="npu",
        precisions=("int8",),
        compiler_options=options,
        source="test",
    )
    return ORACLES["qnn"](path, inspect_model(path), accelerator)


def test_a_float_model_is_one_piece(tmp_path: Path) -> None:
    """Its layout is changed on the way, which renames nodes."""
    placement = asked(conv_net(tmp_path / "model.onnx"), htp_arch="75")
    assert [node.place for node in placement.nodes] == ["accelerator"] * 7
    assert placement.partitions == 1
    assert placement.said_by.endswith("on this machine, for v75")


def test_a_quantized_model_leaves_its_edges_to_the_cpu(tmp_path: Path) -> None:
    path = quantized(tmp_path)
    placement = asked(path, htp_arch="75", soc_model="57")
    assert placement.count("unknown") == 0
    assert {n.place for n in placement.nodes if n.operator == "Conv"} == {"accelerator"}
    left = [node for node in placement.nodes if node.place == "cpu"]
    assert left[0].operator == "QuantizeLinear"
    assert "not take Q nodes that consume a graph input" in str(left[0].reason)


def test_what_it_does_not_take_is_named(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "model.onnx",
        [
            helper.make_node("Relu", ["x"], ["a"], name="first"),
            helper.make_node("Det", ["a"], ["d"], name="determinant"),
            helper.make_node("Mul", ["d", "c"], ["y"], name="last"),
        ],
        {"x": [1, 4, 4]},
        {"y": [1]},
        c=np.ones(1, np.float32),
    )
    placement = asked(path, htp_arch="75")
    places = {node.name: node.place for node in placement.nodes}
    assert places["determinant"] == "cpu"
    assert all(node.reason for node in placement.nodes if node.place == "cpu")


def test_what_it_has_to_be_told(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "model.onnx")
    with pytest.raises(CannotSay, match="which NPU") as told:
        asked(path)
    assert "compiler_options.htp_arch" in str(told.value.hint)
    with pytest.raises(CannotSay, match="not told 'backend_path'"):
        asked(path, htp_arch="75", backend_path="/elsewhere.so")
    with pytest.raises(CannotSay, match="Invalid HTP architecture: 99"):
        asked(path, htp_arch="99")


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(CannotSay, match="no-such-runtime is not installed") as told:
        installed("no-such-runtime", "qnn")
    assert told.value.hint == "pip install 'edgewright[qnn]'"
