from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper
from targets_models import GOLDEN, convnet, save, value

from edgewright.errors import UsageError
from edgewright.targets.safe_load import assert_loads


def test_good_models_load(tmp_path: Path) -> None:
    assert_loads(convnet(tmp_path / "m.onnx"))
    assert_loads(GOLDEN / "targets_conv_int8.tflite")


def test_onnxruntimes_reason_without_its_markers(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Mystery", ["x"], ["y"], domain="my.own")],
        [value("x", [1])],
        [value("y", [1])],
        domains=["my.own"],
    )
    with pytest.raises(UsageError) as caught:
        assert_loads(path)
    message = caught.value.message
    assert message.startswith(f"ONNX Runtime can't load {path}: ")
    assert "my.own:Mystery" in message
    assert "ONNXRuntimeError" not in message
    assert "Traceback" not in message
    assert "\n" not in message


def test_litert_says_why() -> None:
    with pytest.raises(UsageError, match=r"LiteRT can't load .*: Select TensorFlow op"):
        assert_loads(GOLDEN / "targets_flex.tflite")
    with pytest.raises(UsageError, match=r"LiteRT can't load .*Betainc"):
        assert_loads(GOLDEN / "targets_custom.tflite")


def test_a_damaged_model_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((GOLDEN / "targets_conv_int8.tflite").read_bytes()[:1500])
    with pytest.raises(UsageError, match=r"cut\.tflite"):
        assert_loads(path)
    path = convnet(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[0].attribute[0].ints[0] = -7
    onnx.save(model, path)
    with pytest.raises(UsageError, match=r"m\.onnx"):
        assert_loads(path)


def test_too_slow(tmp_path: Path) -> None:
    path = convnet(tmp_path / "m.onnx")
    with pytest.raises(UsageError) as caught:
        assert_loads(path, timeout_s=0.01)
    assert caught.value.message == f"loading {path} took longer than 0.01 s"


def test_no_model_is_not_even_tried(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("<html>")
    with pytest.raises(UsageError, match="web page"):
        assert_loads(tmp_path / "m.onnx")
