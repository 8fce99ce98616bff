from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from targets_models import GOLDEN

from edgewright.errors import UsageError
from edgewright.targets.facts import ModelFacts, Quantization, QuantizedProducts
from edgewright.targets.inspect import inspect_model

#: Multiply-accumulates of the golden network: a convolution 3x3x3x8 on 4x4, a depthwise one
#: 3x3x8 on 4x4, a transposed one 2x2x8x4 from 4x4, a product 4x5.
CONVNET_MACS = 216 * 16 + 72 * 16 + 128 * 16 + 20


def golden(name: str) -> ModelFacts:
    return inspect_model(GOLDEN / f"targets_{name}.tflite")


def counts(facts: ModelFacts) -> dict[str, int]:
    return {operator.name: operator.count for operator in facts.operators}


def test_a_float_model() -> None:
    facts = golden("conv_float")
    assert facts.format == "tflite"
    assert [spec.describe() for spec in facts.inputs] == ["image float32[1x8x8x3]"]
    assert [spec.describe() for spec in facts.outputs] == ["scores float32[1x5]"]
    assert counts(facts) == {
        "CONV_2D": 1,
        "DEPTHWISE_CONV_2D": 1,
        "FULLY_CONNECTED": 1,
        "MEAN": 1,
        "TRANSPOSE_CONV": 1,
    }
    assert facts.macs == CONVNET_MACS
    assert facts.min_runtime_version == "1.9.0"
    assert facts.opset is None
    # 4x4x8 floats into the transposed convolution, 8x8x4 out of it.
    assert facts.peak_activation_bytes == 4 * (128 + 256)
    assert not facts.is_quantized
    assert facts.convolution_share == pytest.approx(1 - 20 / CONVNET_MACS)
    by_name = {operator.name: operator for operator in facts.operators}
    assert by_name["CONV_2D"].weight_bytes == 4 * (216 + 8)
    assert by_name["CONV_2D"].float_count == 1


def test_full_int8() -> None:
    facts = golden("conv_int8")
    assert facts.macs == CONVNET_MACS
    assert facts.peak_activation_bytes == 128 + 256
    assert facts.is_quantized
    assert all(operator.float_count == 0 for operator in facts.operators)
    assert facts.quantized[0] == QuantizedProducts("CONV_2D", 1, "int8", "int8", True, False, None)
    assert facts.inputs[0].dtype == "int8"
    assert facts.inputs[0].quantization == Quantization(pytest.approx(1 / 255, rel=0.05), -128)


def test_16_bit_activations() -> None:
    facts = golden("conv_int16")
    assert {use.activation_dtype for use in facts.quantized} == {"int16"}
    assert facts.inputs[0].dtype == "float32"
    assert facts.inputs[0].quantization is None


def test_dynamic_range() -> None:
    facts = golden("dense_dynamic")
    assert facts.macs == 64 * 64
    assert facts.weight_bytes == 64 * 64
    assert facts.quantized == (
        QuantizedProducts("FULLY_CONNECTED", 1, "float32", "int8", True, True, None),
    )


def test_float16_weights_count_at_the_product_that_reads_them() -> None:
    facts = golden("conv_float16")
    by_name = {operator.name: operator for operator in facts.operators}
    assert by_name["CONV_2D"].weight_bytes == 2 * (216 + 8)
    assert by_name["CONV_2D"].dtypes == ("float32",)
    assert by_name["DEQUANTIZE"].dtypes == ("float16", "float32")
    assert facts.quantized == ()
    # What is made of constants is no activation.
    assert facts.peak_activation_bytes == golden("conv_float").peak_activation_bytes


def test_an_open_batch_counts_as_one() -> None:
    facts = golden("conv_batch")
    assert facts.inputs[0].shape == (None, 8, 8, 3)
    assert facts.outputs[0].shape == (None, 5)
    assert facts.macs == 216 * 16 + 72 * 16 + 40
    assert facts.peak_activation_bytes == 4 * (8 * 8 * 3 + 128)


def test_other_open_dimensions_are_unknown() -> None:
    facts = golden("conv_open")
    assert facts.inputs[0].shape == (1, None, None, 3)
    assert facts.macs is None
    assert facts.peak_activation_bytes is None
    assert facts.convolution_share == 1.0


def test_select_and_custom_operators() -> None:
    assert "flex::MatrixDeterminant" in counts(golden("flex"))
    assert golden("flex").macs is None
    assert counts(golden("custom")) == {"custom::Betainc": 1}


def test_branches_are_counted() -> None:
    facts = golden("branch")
    assert facts.subgraphs == 2
    assert {"IF", "BATCH_MATMUL", "ADD"} <= set(counts(facts))
    assert facts.macs is None
    # In the branch: its inputs and its output beside the main graph's.
    assert facts.peak_activation_bytes is not None
    assert facts.peak_activation_bytes > 32


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.tflite")), ids=lambda path: str(path.stem))
def test_inputs_and_outputs_are_the_interpreters(path: Path) -> None:
    facts = inspect_model(path)
    interpreter = Interpreter(model_path=str(path))
    both = (
        (facts.inputs, interpreter.get_input_details()),
        (facts.outputs, interpreter.get_output_details()),
    )
    for specs, details in both:
        assert len(specs) == len(details)
        for spec, detail in zip(specs, details, strict=True):
            assert spec.dtype == detail["dtype"].__name__
            assert [size or -1 for size in spec.shape] == list(detail["shape_signature"])
            scale, zero_point = detail["quantization"]
            if spec.quantization is None:
                assert scale == 0
            else:
                assert spec.quantization == Quantization(scale, zero_point)
    (signature,) = interpreter.get_signature_list().values()
    assert {spec.name for spec in facts.inputs} == set(signature["inputs"])
    assert {spec.name for spec in facts.outputs} == set(signature["outputs"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda nodes: nodes[1:], "nothing computes '.+' before DEPTHWISE_CONV_2D reads it"),
        (lambda nodes: nodes[::-1], "nothing computes '.+' before FULLY_CONNECTED reads it"),
        (lambda nodes: nodes[:-1], "nothing computes the output '"),
        (lambda nodes: [*nodes, nodes[-1]], "two nodes compute '"),
    ],
)
def test_every_tensor_has_one_earlier_source(
    change: Callable[[list[Any]], list[Any]], message: str, tmp_path: Path
) -> None:
    model = flatbuffer_utils.read_model(str(GOLDEN / "targets_conv_float.tflite"))
    graph = model.subgraphs[0]
    graph.operators = change(graph.operators)
    path = tmp_path / "m.tflite"
    flatbuffer_utils.write_model(model, str(path))
    with pytest.raises(UsageError, match=message):
        inspect_model(path)
