"""Quantization in words, weights by type, and QDQ operators that don't fuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from targets_models import (
    convnet,
    dynamically_quantized,
    in_blocks,
    mlp,
    quantized,
    save,
    value,
    weights,
)

from edgewright.targets.facts import ModelFacts, WeightFacts
from edgewright.targets.inspect import inspect_model

MODEL = "m.onnx"


def kept_by_the_runtime(path: Path) -> set[str]:
    """Names of QDQ operators in the graph that ONNX Runtime runs, but for inputs and outputs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    borders = {v.name for v in (*graph.input, *graph.output)}
    return {
        # The runtime makes a DequantizeLinear for each reader of one.
        node.name.removesuffix("/duplicated")
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        and not borders & {node.input[0], node.output[0]}
    }


class TestScheme:
    def test_float(self, tmp_path: Path) -> None:
        assert inspect_model(convnet(tmp_path / MODEL)).scheme == ("FP32: 2 Conv, 1 Gemm",)
        half = inspect_model(mlp(tmp_path / MODEL, dtype=TensorProto.FLOAT16))
        assert half.scheme == ("FP16: 2 MatMul",)

    def test_products_of_two_activations(self, tmp_path: Path) -> None:
        node = helper.make_node("MatMul", ["a", "b"], ["y"])
        inputs = [value("a", [2, 3]), value("b", [3, 2])]
        facts = inspect_model(save(tmp_path / MODEL, [node], inputs, [value("y", [2, 2])]))
        assert facts.scheme == ("FP32: 1 product of two activations",)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (
                {},
                "INT8 weights (per channel, symmetric), "
                "UINT8 activations (per tensor, asymmetric, static): 2 Conv, 1 Gemm",
            ),
            (
                {"weight_type": "QUInt8", "per_channel": False},
                "UINT8 weights (per tensor, asymmetric), "
                "UINT8 activations (per tensor, asymmetric, static): 2 Conv, 1 Gemm",
            ),
            (
                {"operator_format": True},
                "INT8 weights (per channel, symmetric), UINT8 activations (per tensor, "
                "asymmetric, static): 2 QLinearConv, 1 com.microsoft::QGemm",
            ),
        ],
    )
    def test_static(self, tmp_path: Path, options: dict[str, Any], words: str) -> None:
        assert inspect_model(quantized(tmp_path, **options)).scheme == (words,)

    def test_dynamic(self, tmp_path: Path) -> None:
        assert inspect_model(dynamically_quantized(tmp_path, matmul=True)).scheme == (
            "INT8 weights (per tensor, symmetric), "
            "activations quantized at run time (dynamic): 2 MatMulInteger",
        )

    def test_blocks(self, tmp_path: Path) -> None:
        facts = inspect_model(in_blocks(tmp_path))
        assert facts.scheme == (
            "UINT4 weights (in blocks of 32, symmetric), "
            "FP32 activations (weights only): 2 com.microsoft::MatMulNBits",
        )
        # Two values in a byte, and a scale for each 32 of them.
        assert facts.weights == (
            WeightFacts("uint4", 2, 2 * 64 * 64, 64 * 64),
            WeightFacts("float32", 2, 256, 1024),
        )

    def test_layers_that_stayed_float_are_named(self, tmp_path: Path) -> None:
        model = onnx.load(quantized(tmp_path))
        x = model.graph.output[0].name
        model.graph.initializer.append(weights("tail", 5, 5))
        model.graph.node.append(helper.make_node("MatMul", [x, "tail"], ["z"], name="tail_matmul"))
        model.graph.output[0].CopyFrom(value("z", [1, 5]))
        onnx.save(model, tmp_path / MODEL)
        assert inspect_model(tmp_path / MODEL).scheme[1] == ("stayed FP32: 1 MatMul (tail_matmul)")


class TestWeights:
    def test_shared_external_values_count_once(self, tmp_path: Path) -> None:
        path = mlp(tmp_path / MODEL)
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
        model = onnx.load(path, load_external_data=False)
        first, second = model.graph.initializer
        del second.external_data[:]
        second.external_data.extend(first.external_data)
        onnx.save(model, path)
        facts = inspect_model(path)
        assert facts.weights == (WeightFacts("float32", 1, 4096, 16384, shared_tensors=1),)
        assert facts.weight_bytes == 16384

    def test_sparse(self, tmp_path: Path) -> None:
        values = numpy_helper.from_array(np.ones(3, np.float32), "w")
        where = numpy_helper.from_array(np.array([0, 5, 9]), "w_at")
        sparse = helper.make_sparse_tensor(values, where, [4, 4])
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        path = save(tmp_path / MODEL, [node], [value("x", [1, 4])], [value("y", [1, 4])])
        model = onnx.load(path)
        model.graph.sparse_initializer.append(sparse)
        onnx.save(model, path)
        facts = inspect_model(path)
        assert facts.weights == (WeightFacts("float32", 1, 16, 12 + 24, sparse_tensors=1),)
        assert facts.scheme == ("FP32, sparse: 1 MatMul",)


class TestUnfused:
    def reasons(self, facts: ModelFacts) -> dict[str, str]:
        return {pair.node: pair.reason for pair in facts.unfused}

    @pytest.mark.parametrize("activations", ["QUInt8", "QInt8", "QUInt16"])
    def test_as_the_runtime_does_it(self, tmp_path: Path, activations: str) -> None:
        path = quantized(tmp_path, activations=activations)
        facts = inspect_model(path)
        assert set(self.reasons(facts)) == kept_by_the_runtime(path)
        assert bool(facts.unfused) == (activations == "QUInt16")

    def between(self, path: Path, nodes: list[Any], zero: int = 0) -> Path:
        """x -> QDQ -> nodes from 'a' to 'b' -> QDQ -> y."""
        constants = [
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.uint8(zero), "z"),
            numpy_helper.from_array(np.ones((16, 16), np.uint8), "w"),
        ]
        make = helper.make_node
        reads_weights = any("wd" in node.input for node in nodes)
        around = [
            make("QuantizeLinear", ["x", "s", "z"], ["xq"], name="x_q"),
            make("DequantizeLinear", ["xq", "s", "z"], ["a"], name="x_dq"),
            *[make("DequantizeLinear", ["w", "s", "z"], ["wd"], name="w_dq")] * reads_weights,
            *nodes,
            make("QuantizeLinear", ["b", "s", "z"], ["yq"], name="y_q"),
            make("DequantizeLinear", ["yq", "s", "z"], ["y"], name="y_dq"),
        ]
        return save(path, around, [value("x", [16, 16])], [value("y", [16, 16])], constants)

    @pytest.mark.parametrize(
        ("nodes", "zero", "kept"),
        [
            ([("MatMul", ["a", "wd"], "b")], 0, {}),
            ([("MatMul", ["a", "wd"], "r"), ("Relu", ["r"], "b")], 0, {}),
            (
                [("MatMul", ["a", "wd"], "r"), ("Relu", ["r"], "b")],
                128,
                dict.fromkeys(
                    ("x_dq", "w_dq", "y_q"),
                    "Relu 'b' after MatMul changes what the scale alone would clip",
                ),
            ),
            (
                [("MatMul", ["a", "wd"], "e"), ("Erf", ["e"], "b")],
                0,
                {"y_q": "Erf 'b' before it computes in floating point"},
            ),
            (
                [("Erf", ["a"], "e"), ("MatMul", ["e", "wd"], "b")],
                0,
                {
                    "x_dq": "Erf has no integer kernel",
                    "w_dq": "only the weights of MatMul 'b' are quantized",
                    "y_q": "only the weights of MatMul 'b' are quantized",
                },
            ),
            ([("Transpose", ["a"], "t"), ("MatMul", ["t", "wd"], "b")], 0, {}),
            ([("Relu", ["a"], "b")], 0, {}),
            (
                [("Relu", ["a"], "b")],
                128,
                dict.fromkeys(("x_dq", "y_q"), "Relu has no integer kernel"),
            ),
            (
                [("Sigmoid", ["a"], "g"), ("Mul", ["a", "g"], "b")],
                0,
                {
                    "x_dq": "the result of Sigmoid 'g' is not quantized",
                    "y_q": "Mul 'b' also reads a tensor that is not quantized",
                },
            ),
            (
                [("Sigmoid", ["a"], "b"), ("Erf", ["b"], "unread")],
                0,
                dict.fromkeys(("x_dq", "y_q"), "the result of Sigmoid 'b' has other readers, too"),
            ),
        ],
    )
    def test_reasons(
        self, tmp_path: Path, nodes: list[Any], zero: int, kept: dict[str, str]
    ) -> None:
        made = [helper.make_node(o, reads, [to], name=to) for o, reads, to in nodes]
        path = self.between(tmp_path / MODEL, made, zero)
        assert self.reasons(inspect_model(path)) == kept
        assert kept_by_the_runtime(path) == set(kept)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_weights_alone_become_blocks(tmp_path: Path, operator: str) -> None:
    """ONNX Runtime makes MatMulNBits of them."""
    path = save(
        tmp_path / MODEL,
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["d"], name="w_dq"),
            helper.make_node(operator, ["x", "d"], ["y"]),
        ],
        [value("x", [4, 32])],
        [value("y", [4, 16])],
        [
            numpy_helper.from_array(np.ones((32, 16), np.int8), "w"),
            numpy_helper.from_array(np.float32(0.1), "s"),
        ],
    )
    assert inspect_model(path).unfused == ()
    assert kept_by_the_runtime(path) == set()


def test_facts_are_json_whatever_the_attributes_hold(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("LeakyRelu", ["x"], ["y"], alpha=float("inf")),
        helper.make_node("Constant", [], ["c"], value_floats=[0.5] * 100),
    ]
    path = save(tmp_path / MODEL, nodes, [value("x", [1])], [value("y", [1])])
    relu, constant = inspect_model(path).graphs[0].nodes
    assert relu.attributes == {"alpha": "inf"}
    assert constant.attributes == {"value_floats": "100 floats"}
    json.dumps([relu.attributes, constant.attributes], allow_nan=False)
