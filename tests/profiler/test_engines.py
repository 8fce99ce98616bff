"""The runtimes as the worker uses them, against the runtimes used plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from small_models import GOLDEN

from edgewright.profiler.agent.engines import OnnxRuntime, TfliteInterpreter


def loaded(path: Path) -> OnnxRuntime:
    engine = OnnxRuntime()
    engine.load({"path": str(path), "threads": 1})
    return engine


def model(
    path: Path,
    kind: str,
    dtype: int,
    shape: list[Any],
    output: int,
    output_shape: list[Any] | None = None,
) -> Path:
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", output, output_shape)],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_outputs_whose_shape_is_the_datas(tmp_path: Path) -> None:
    """NonZero has as many columns as there are: no output may be written into the last one."""
    path = model(tmp_path / "m.onnx", "NonZero", TensorProto.FLOAT, ["n"], TensorProto.INT64)
    engine = loaded(path)
    assert engine.binding is not None
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for values in ([1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0], [1, 1, 1, 1, 1, 1]):
        array = np.array(values, np.float32)
        engine.bind([array])
        engine.invoke()
        engine.invoke()
        [found] = engine.fetch()
        np.testing.assert_array_equal(found, plain.run(None, {"x": array})[0])


def test_outputs_of_a_fixed_shape_are_used_again(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT
    engine = loaded(model(tmp_path / "m.onnx", "Neg", kind, [2], kind, [2]))
    kept = []
    for value in (1, 2, 3, 4):
        engine.bind([np.full(2, value, np.float32)])
        engine.invoke()
        kept += [np.array(output) for output in engine.fetch()]
    assert engine.keeps_outputs
    np.testing.assert_array_equal(kept, [[-1, -1], [-2, -2], [-3, -3], [-4, -4]])


def test_a_model_that_lies_about_its_outputs(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT
    engine = loaded(model(tmp_path / "m.onnx", "Neg", kind, ["n"], kind, [2]))
    for length in (3, 5, 4):
        engine.bind([np.ones(length, np.float32)])
        engine.invoke()
        assert engine.fetch()[0].shape == (length,)
    assert not engine.keeps_outputs


def test_text_is_run_without_binding(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", "Identity", TensorProto.STRING, [2], TensorProto.STRING)
    engine = loaded(path)
    assert engine.binding is None
    engine.bind([np.array(["a", "b"], object)])
    engine.invoke()
    assert list(engine.fetch()[0]) == ["a", "b"]


def test_a_delegate_that_took_nothing_is_none() -> None:
    made = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
    for name, provider in (("tiny_float", "XNNPACK"), ("targets_conv_int16", None)):
        engine = TfliteInterpreter("ai_edge_litert")
        engine.load({"path": str(GOLDEN / f"{name}.tflite"), "threads": 1})
        assert engine.provider(made) == provider
        assert engine.provider("") is None
