"""Biases as int32 behind DequantizeLinear."""

from __future__ import annotations

import numpy as np
from onnx import helper

from .grid import Floats
from .onnx_graph import Graph, Node

#: Binary digits of a float32.
_DIGITS = 24

#: Least exponent of a scale: float32 is normal from -126 on.
_LEAST = -126


def integer_bias(graph: Graph, name: str, bias: Floats, scale: Floats) -> str:
    """A tensor of the bias, rounded to steps of the scale.

    Integer kernels take steps of input scale times weight scale (Jacob et al. 2018,
    arXiv:1712.05877, equation 11).

    Args:
        scale: [] or [out].
    """
    integers = np.rint(bias.astype(np.float64) / scale.astype(np.float64)).astype(np.int32)
    inputs = [
        graph.add(integers, f"{name}_quantized"),
        graph.add(scale, f"{name}_quantized_scale"),
        graph.add(np.zeros(scale.shape, np.int32), f"{name}_quantized_zero_point"),
    ]
    output = graph.name(f"{name}_DequantizeLinear_Output")
    graph.declare_float(output, list(bias.shape))
    title = graph.name(f"{name}_DequantizeLinear")
    graph.prelude.append(helper.make_node("DequantizeLinear", inputs, [output], title, axis=0))
    return output


def keep_float(graph: Graph, node: Node) -> None:
    """Keeps ONNX Runtime from rounding the float weights of a node between quantized tensors.

    Loading a model, it quantizes the weights of such a Conv, ConvTranspose or Gemm to INT8 per
    tensor, so that it may compute with integers, unless the bias is no constant
    (`WeightBiasQuantization`; EfficientNet-Lite0 with its first depthwise convolution kept float:
    10.3 dB, 20.0 dB without). So the bias is computed here, from integers, and without error: each
    has a power of two as its scale.
    """
    outputs = _outputs(graph, node)
    if outputs is None:
        return
    name = node.input[2] if len(node.input) > 2 else ""
    bias = graph.float_constant(name) if name else np.zeros(outputs, np.float32)
    if bias is None or bias.shape != (outputs,):
        return
    _, exponents = np.frexp(bias)
    scale = np.ldexp(np.float32(1), np.maximum(exponents - _DIGITS, _LEAST)).astype(np.float32)
    made = integer_bias(graph, name or f"{node.name}_no_bias", bias, scale)
    node.input[2:] = [made]


def _outputs(graph: Graph, node: Node) -> int | None:
    """How many channels a convolution or Gemm gives; None for other nodes."""
    shape = graph.shape(node.output[0])
    if node.op_type == "Gemm":
        return None if shape is None else shape[-1]
    if node.op_type in ("Conv", "ConvTranspose"):
        return None if shape is None else shape[1]
    return None
