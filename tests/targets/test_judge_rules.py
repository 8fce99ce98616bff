"""Conditions of support tables that are about shapes, opsets and quantization, on real tables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clirunner import Cli
from models import TINY_TFLITE

from edgewright.targets.facts import (
    Attribute,
    GraphFacts,
    Node,
    OperatorFacts,
    QuantizedProducts,
    TensorFacts,
    TensorQuantization,
)
from edgewright.targets.inspect import inspect_model
from edgewright.targets.judge import Verdict, judge
from edgewright.targets.remedies import remedy_for
from edgewright.targets.support_files import support_table


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


INT8 = TensorQuantization(per_channel=False, axis=None, symmetric=True)


def _judge(
    table: str,
    operator: str,
    shape: tuple[int | None, ...],
    dtype: str = "int8",
    *,
    weights: str | None = None,
    constants: int = 0,
    attributes: Mapping[str, Attribute] | None = None,
    opset: int | None = None,
) -> Verdict:
    """Judges one node with one input, weights and constants, and one output."""
    found = support_table(table)
    assert found is not None
    scales = INT8 if dtype == "int8" else None
    tensors = [TensorFacts("x", dtype, shape, quantization=scales)]
    if weights is not None:
        tensors.append(TensorFacts("w", weights, (1, 1, 1, 1), "w", 1, scales))
    tensors += [TensorFacts(f"c{i}", "int32", (1,), f"c{i}", 4) for i in range(constants)]
    tensors.append(TensorFacts("y", dtype, shape, quantization=scales))
    last = len(tensors) - 1
    node = Node(0, operator, "n", None, tuple(range(last)), (last,), dict(attributes or {}), None)
    graph = GraphFacts("", tuple(tensors), (node,), (0,), (last,))
    return judge(node, graph, found, None, None if opset is None else {"": opset})


@pytest.mark.parametrize(
    ("table", "operator", "shape", "constants", "reason"),
    [
        ("edge-tpu", "SOFTMAX", (1, 10), 0, None),
        ("edge-tpu", "SOFTMAX", (4, 10), 0, "2 dimensions are larger than 1; it takes up to 1"),
        ("edge-tpu", "ADD", (1, 8, 8, 3), 0, None),
        ("edge-tpu", "ADD", (2, 8, 8, 3), 0, "dimension 0 of its input is 2; it takes 1"),
        ("edge-tpu", "ADD", (2, 1, 8, 3), 0, "dimension 0 of its input is 2; it takes 1"),
        ("edge-tpu", "ADD", (8, 8, 3), 0, None),
        ("ethos-u55", "MEAN", (1, 8, 8, 3), 1, None),
        ("ethos-u55", "MEAN", (2, 8, 8, 3), 1, "batch 2; it takes up to 1"),
        ("tidl-tflite", "LOGISTIC", (2, 2, 2, 2, 2, 2), 0, None),
        ("tidl-tflite", "LOGISTIC", (2,) * 7, 0, "7 dimensions are larger than 1"),
        ("vx-delegate", "ABS", (1,) * 7, 0, "rank 7; it takes up to 6 dimensions"),
    ],
)
def test_shapes(
    table: str, operator: str, shape: tuple[int, ...], constants: int, reason: str | None
) -> None:
    verdict = _judge(table, operator, shape, constants=constants)
    assert verdict.answer == ("yes" if reason is None else "no"), verdict
    assert reason is None or reason in str(verdict.reason)


def test_a_list_that_is_not_complete_can_say_no() -> None:
    assert _judge("rknn", "Conv", (1, 3, 8, 8), "float32", opset=17).answer == "unknown"
    assert _judge("rknn", "Relu", (1, 3), "float32", opset=17).answer == "yes"
    no = _judge("rknn", "NonZero", (1, 3), "float32", opset=17)
    assert (no.answer, no.code) == ("no", "operator-not-supported")
    assert _judge("rknn", "Gemm", (1, 3), "float32", opset=17).answer == "unknown"


def test_lists_of_a_window_that_are_left_out_have_the_values_that_onnx_gives_them() -> None:
    kernel: dict[str, Attribute] = {"kernel_shape": (3, 3)}
    verdict = _judge("rknn", "Conv", (1, 3, 8, 8), "float32", attributes=kernel, opset=17)
    assert verdict.answer == "yes"
    wide: dict[str, Attribute] = {**kernel, "strides": (9, 9)}
    verdict = _judge("rknn", "Conv", (1, 3, 8, 8), "float32", attributes=wide, opset=17)
    assert verdict.code == "attribute-not-supported"


@pytest.mark.parametrize(("opset", "answer"), [(8, "no"), (9, "yes"), (20, "yes"), (21, "no")])
def test_a_table_has_opsets_of_its_own(opset: int, answer: str) -> None:
    verdict = _judge("onnxruntime-tensorrt", "Relu", (1, 3), "float32", opset=opset)
    assert verdict.answer == answer


def test_an_attribute_that_an_opset_does_not_have_is_not_asked_for() -> None:
    # antialias and keep_aspect_ratio_policy of Resize came with opset 18.
    for opset in (13, 18):
        resize = _judge("onnxruntime-tensorrt", "Resize", (1, 3, 8, 8), "float32", opset=opset)
        assert resize.answer == "yes"
    smooth = {"antialias": 1}
    resize = _judge(
        "onnxruntime-tensorrt", "Resize", (1, 3, 8, 8), "float32", attributes=smooth, opset=18
    )
    assert resize.code == "attribute-not-supported"


def test_cuda_kernels_end_where_onnx_changes_the_operator() -> None:
    for opset, answer in ((6, "no"), (7, "yes"), (21, "yes"), (22, "no")):
        assert _judge("onnxruntime-cuda", "Cos", (3,), "float32", opset=opset).answer == answer


def test_vela_takes_large_strides_only_where_its_rules_say_so() -> None:
    steps = {"stride_w": 4, "stride_h": 4, "dilation_h_factor": 1}
    # A window of one pixel pads nothing, whichever padding is said.
    for padding, dilation, answer in (("VALID", 1, "yes"), ("SAME", 1, "yes"), ("VALID", 2, "no")):
        verdict = _judge(
            "ethos-u55",
            "CONV_2D",
            (1, 8, 8, 3),
            weights="int8",
            attributes={**steps, "padding": padding, "dilation_w_factor": dilation},
        )
        assert verdict.answer == answer, verdict
    assert _judge("ethos-u55", "ABS", (1, 3), "float32").code == "not-full-integer"


@pytest.mark.parametrize(("release", "answer"), [("1.23", "no"), ("1.24", "yes"), ("1.31", "yes")])
def test_quantizing_in_opset_23_waits_for_the_release_that_mended_it(
    release: str, answer: str
) -> None:
    """1.23 lists kernels for it whose types fit no model: it loads none (tried with the wheels)."""
    tensors = tuple(
        TensorFacts(name, dtype, (1,))
        for name, dtype in (("x", "float32"), ("s", "float32"), ("z", "uint8"), ("y", "uint8"))
    )
    node = Node(0, "QuantizeLinear", "n", None, (0, 1, 2), (3,), {}, None)
    graph = GraphFacts("", tensors, (node,), (0,), (3,))
    table = support_table("onnxruntime-cpu")
    assert table is not None
    assert judge(node, graph, table, release, {"": 23}).answer == answer


def test_only_floating_point_is_to_be_quantized() -> None:
    facts = inspect_model(TINY_TFLITE)
    ethos, cpu = support_table("ethos-u55"), support_table("onnxruntime-cpu")
    assert ethos is not None and cpu is not None
    adding = _judge("ethos-u55", "ADD", (1, 4), "float32")
    indices = _judge("ethos-u55", "ADD", (1, 4), "int64")
    assert indices.code == "type-not-supported"
    assert "quantize" not in remedy_for(indices, "ADD", ethos, facts)
    double = _judge("onnxruntime-cpu", "Elu", (1, 4), "float64", opset=22)
    assert remedy_for(double, "Elu", cpu, facts) == "convert the layer to float32"
    half = replace(facts, operators=(OperatorFacts("ADD", 1, ("float16",), 0, 0),))
    assert "the float32 model that it was made from" in remedy_for(adding, "ADD", ethos, half)
    static = replace(
        facts, quantized=(QuantizedProducts("CONV_2D", 1, "int8", "int8", True, False, 127),)
    )
    assert remedy_for(adding, "ADD", ethos, static).startswith("ADD stayed float")
    leaving = _judge("edge-tpu", "DEQUANTIZE", (1, 4))
    assert leaving.answer == "no"
    assert "the float layer beside it" in remedy_for(leaving, "DEQUANTIZE", ethos, static)


def test_the_command_to_quantize_is_one_that_quantize_takes(cli: Cli, tmp_path: Path) -> None:
    table = support_table("edge-tpu")
    assert table is not None
    facts = inspect_model(TINY_TFLITE)
    told = remedy_for(_judge("edge-tpu", "ADD", (1, 4), "float32"), "ADD", table, facts)
    words = shlex.split(told.partition("edgewright ")[2])
    [port] = facts.inputs
    samples = np.random.default_rng(0).random((8, *port.shape[1:]), dtype=np.float32)
    np.savez(tmp_path / "data.npz", **{port.name: samples})
    made = tmp_path / "int8.tflite"
    given = {
        "MODEL": str(TINY_TFLITE),
        "DATA": str(tmp_path / "data.npz"),
        "INT8.tflite": str(made),
    }
    outcome = cli(*(given.get(word, word) for word in words))
    assert outcome.code == 0, outcome
    assert inspect_model(made).is_quantized
