"""Small models for the tests of targets/: built with onnx.helper, quantized with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

GOLDEN = Path(__file__).parent / "golden"

#: Multiply-accumulates of `convnet`: 3x3x3x8 on 8x8, depthwise 3x3x8 on 8x8, 8x5.
CONVNET_MACS = 216 * 64 + 72 * 64 + 40


def value(name: str, shape: Sequence[Any] | None, dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def weights(name: str, *shape: int, seed: int = 0) -> Any:
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(array, name)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: Sequence[str] = (),
    functions: Sequence[Any] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=list(functions)
    )
    onnx.save(model, path)
    return path


def convnet(path: Path, *, batch: Any = 1, size: Any = 8, opset: int = 17, ir: int = 8) -> Path:
    """Conv, Relu, depthwise Conv, GlobalAveragePool, Flatten, Gemm."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["scores"], transB=1),
    ]
    constants = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        weights("w2", 8, 1, 3, 3),
        weights("w3", 5, 8),
    ]
    inputs = [value("image", [batch, 3, size, size])]
    outputs = [value("scores", [batch, 5])]
    return save(path, nodes, inputs, outputs, constants, opset=opset, ir_version=ir)


def mlp(path: Path, *, batch: Any = 1, dtype: int = TensorProto.FLOAT) -> Path:
    """Two matrix products of 64x64 with a Relu between."""
    array = np.random.default_rng(1).normal(size=(64, 64))
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    constants = [numpy_helper.from_array(array.astype(kind), name) for name in ("w1", "w2")]
    return save(
        path, nodes, [value("x", [batch, 64], dtype)], [value("y", [batch, 64], dtype)], constants
    )


class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.images: Iterator[Any] = iter(
            [{"image": random.random((1, 3, 8, 8), np.float32)} for _ in range(3)]
        )

    def get_next(self) -> Any:
        return next(self.images, None)


def quantized(
    folder: Path,
    *,
    activations: str = "QUInt8",
    weight_type: str = "QInt8",
    per_channel: bool = True,
    reduce_range: bool = False,
    operator_format: bool = False,
) -> Path:
    """`convnet`, quantized statically for real."""
    target = folder / "quantized.onnx"
    quantization.quantize_static(
        convnet(folder / "float.onnx", opset=21),
        target,
        Images(),
        quant_format=quantization.QuantFormat.QOperator
        if operator_format
        else quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType[activations],
        weight_type=quantization.QuantType[weight_type],
        per_channel=per_channel,
        reduce_range=reduce_range,
    )
    return target


def dynamically_quantized(folder: Path, *, matmul: bool) -> Path:
    target = folder / "dynamic.onnx"
    source = mlp(folder / "float.onnx") if matmul else convnet(folder / "float.onnx")
    # ConvInteger of the CPU takes uint8 weights in all versions.
    kind = quantization.QuantType.QInt8 if matmul else quantization.QuantType.QUInt8
    quantization.quantize_dynamic(source, target, weight_type=kind)
    return target


def in_blocks(folder: Path, *, bits: int = 4, accuracy_level: int = 0) -> Path:
    """`mlp` with MatMulNBits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(mlp(folder / "float.onnx"))
    quantizer = MatMulNBitsQuantizer(
        model, bits=bits, block_size=32, is_symmetric=True, accuracy_level=accuracy_level
    )
    quantizer.process()
    target = folder / "blocks.onnx"
    onnx.save(quantizer.model.model, target)
    return target
