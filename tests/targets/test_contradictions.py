"""Weights that contradict what they are multiplied with, against what the runtimes say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from small_tflite import PADDINGS, Graph

from edgewright.errors import UsageError
from edgewright.targets.inspect import inspect_model

IMAGE = [1, 4, 8, 8]

#: operator, shape of the input, of the weights, of the bias, attributes -> what is said.
ONNX: list[tuple[str, list[Any], list[int], int | None, dict[str, Any], str | None]] = [
    ("Conv", IMAGE, [8, 4, 3, 3], 8, {}, None),
    ("Conv", IMAGE, [8, 3, 3, 3], None, {}, "its input has 4 channels, and its weights are for 3"),
    ("Conv", IMAGE, [8, 2, 3, 3], None, {"group": 2}, None),
    ("Conv", IMAGE, [7, 2, 3, 3], None, {"group": 2}, "7 outputs in 2 groups"),
    ("Conv", IMAGE, [8, 4, 3], None, {}, "has 4 dimensions, and its weights have 3"),
    ("Conv", IMAGE, [8, 4, 3, 3], None, {"kernel_shape": [5, 5]}, r"kernel_shape is \[5, 5\]"),
    ("Conv", IMAGE, [8, 4, 3, 3], 7, {}, "a bias of 7 for 8 outputs"),
    ("Conv", ["n", "c", 8, 8], [8, 4, 3, 3], None, {}, None),
    ("ConvTranspose", IMAGE, [4, 2, 3, 3], 4, {"group": 2}, None),
    ("ConvTranspose", IMAGE, [3, 8, 3, 3], None, {}, "4 channels, and its weights are for 3"),
    ("ConvTranspose", IMAGE, [4, 2, 3, 3], None, {"group": 3}, "4 channels in 3 groups"),
    ("ConvTranspose", IMAGE, [4, 8, 3, 3], 7, {}, "a bias of 7 for 8 outputs"),
    ("Gemm", [1, 4], [4, 8], 1, {}, None),
    ("Gemm", [4, 1], [8, 4], 8, {"transA": 1, "transB": 1}, None),
    ("Gemm", [1, 4], [3, 8], None, {}, "4 columns, and its weights are for 3"),
    ("Gemm", [1, 4], [8, 3], None, {"transB": 1}, "4 columns, and its weights are for 3"),
    ("Gemm", [1, 2, 4], [4, 8], None, {}, "it multiplies 3 dimensions with 2"),
    ("Gemm", [1, 4], [4, 8], 7, {}, "a bias of 7 for 8 outputs"),
    ("MatMul", [2, 3, 4], [4], None, {}, None),
    ("MatMul", ["n", 4], [4, 8], None, {}, None),
    ("MatMul", [1, 4], [3, 8], None, {}, "4 columns, and its weights are for 3"),
]  # fmt: skip


def saved(path: Path, operator: str, x: Sequence[Any], weights: Sequence[int],
          bias: int | None, attributes: dict[str, Any]) -> Path:  # fmt: skip
    stored = {"w": np.ones(weights, np.float32)}
    if bias is not None:
        stored["b"] = np.ones(bias, np.float32)
    node = helper.make_node(operator, ["x", *stored], ["y"], name="layer", **attributes)
    graph = helper.make_graph(
        [node],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def refuses(path: Path, x: Sequence[Any]) -> bool:
    """Whether ONNX Runtime neither loads nor runs it."""
    sizes = [size if isinstance(size, int) else 4 for size in x]
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session.run(None, {"x": np.ones(sizes, np.float32)})
    except Exception:
        return True
    return False


@pytest.mark.parametrize(("operator", "x", "weights", "bias", "attributes", "why"), ONNX)
def test_onnx(operator: str, x: list[Any], weights: list[int], bias: int | None,
              attributes: dict[str, Any], why: str | None, tmp_path: Path) -> None:  # fmt: skip
    path = saved(tmp_path / "m.onnx", operator, x, weights, bias, attributes)
    assert refuses(path, x) == (why is not None)
    if why is None:
        inspect_model(path)
        return
    with pytest.raises(UsageError, match=f"damaged ONNX model.*{why}"):
        inspect_model(path)


def test_stale_shapes_between_nodes_contradict_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", "Conv", IMAGE, [8, 4, 3, 3], None, {})
    model = onnx.load(path)
    model.graph.node[0].input[0] = "r"
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["r"]))
    model.graph.value_info.append(
        helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 3, 8, 8])
    )
    onnx.save(model, path)
    assert not refuses(path, IMAGE)
    inspect_model(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(model, path)
    with pytest.raises(UsageError, match="Conv 'layer': its input has 3 channels"):
        inspect_model(path)


SAME = {"padding": PADDINGS.SAME, "strideW": 1, "strideH": 1}
SAME |= {"dilationWFactor": 1, "dilationHFactor": 1}

#: operator, shape of the input, of the weights, of the bias, of the output -> what is said.
TFLITE: list[tuple[str, list[int], list[int], int, list[int], str | None]] = [
    ("CONV_2D", [1, 8, 8, 4], [8, 3, 3, 4], 8, [1, 8, 8, 8], None),
    ("CONV_2D", [1, 8, 8, 4], [8, 3, 3, 2], 8, [1, 8, 8, 8], None),
    ("CONV_2D", [1, 8, 8, 4], [7, 3, 3, 2], 7, [1, 8, 8, 7], "7 outputs in 2 groups"),
    (
        "CONV_2D",
        [1, 8, 8, 4],
        [8, 3, 3, 3],
        8,
        [1, 8, 8, 8],
        "4 channels, and its weights are for 3",
    ),
    ("FULLY_CONNECTED", [3, 4], [8, 6], 8, [2, 8], None),
    ("FULLY_CONNECTED", [1, 4], [8, 3], 8, [1, 8], "its input has 4 elements"),
    ("FULLY_CONNECTED", [1, 4], [8, 4], 7, [1, 8], "a bias of 7 for 8 outputs"),
]


@pytest.mark.parametrize(("operator", "x", "weights", "bias", "made", "why"), TFLITE)
def test_tflite(operator: str, x: list[int], weights: list[int], bias: int, made: list[int],
                why: str | None, tmp_path: Path) -> None:  # fmt: skip
    graph = Graph()
    inputs = [graph.input("x", x)]
    inputs += [graph.constant("w", np.ones(weights, np.float32))]
    inputs += [graph.constant("b", np.ones(bias, np.float32))]
    options = "Conv2DOptions" if operator == "CONV_2D" else "FullyConnectedOptions"
    values = SAME if operator == "CONV_2D" else {}
    path = graph.write(
        tmp_path / "m.tflite", graph.node(operator, inputs, "y", made, options, **values)
    )
    interpreter = Interpreter(model_path=str(path))
    if why is None:
        interpreter.allocate_tensors()
        inspect_model(path)
        return
    with pytest.raises(RuntimeError):
        interpreter.allocate_tensors()
    with pytest.raises(UsageError, match=f"damaged or truncated TFLite model.*{why}"):
        inspect_model(path)
