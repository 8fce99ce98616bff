"""The layers of a TFLite model, and a copy of the model with other weights in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .layers import Convolution, Floats, Layer, LayerWeights
from .tflite_model import (
    BIAS,
    WEIGHTS,
    constant,
    give_own_constant,
    input_tensor,
    name_of,
    node_name,
    operator_of,
    read_model,
    readers,
    serialized,
)

#: Axes of the file's weights in the order of `Layer`: from OHWI, and from 1HWC of depthwise ones.
_TO_LAYER = {
    "CONV_2D": (0, 3, 1, 2),
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "FULLY_CONNECTED": (0, 1),
}


def layers(model_path: Path) -> list[Layer]:
    """The convolutions and matrix products whose weights are float32 constants, in their order.

    Left out are those whose bias is computed, whose activation is no clip, or whose input is
    flattened on the way in: they are quantized, but nothing can be said of their channels.
    """
    return layers_of(read_model(model_path))


def layers_of(model: Any) -> list[Layer]:
    """`layers` of a model that has been read."""
    graph = model.subgraphs[0]
    found = (_layer(model, graph, node) for node in graph.operators)
    return [layer for layer in found if layer is not None]


def with_weights(model_path: Path, changed: Mapping[str, LayerWeights], destination: Path) -> None:
    """Writes a copy of a float model in which layers have other weights or biases.

    Args:
        changed: by the name of the layer. A layer that had no bias gets one; constants that other
            nodes read too are copied for the layer.
    """
    model = read_model(model_path)
    graph = model.subgraphs[0]
    for node in graph.operators:
        layer = _layer(model, graph, node)
        if layer is None or layer.name not in changed:
            continue
        new = changed[layer.name]
        if not np.array_equal(new.weights, layer.weights):
            _replace(model, graph, node, WEIGHTS, from_layer(new.weights, layer.operator))
        if new.bias is not None and not np.array_equal(new.bias, _or_nothing(layer.bias)):
            _replace(model, graph, node, BIAS, new.bias)
    destination.write_bytes(serialized(model))


def to_layer(weights: Floats, operator: str) -> Floats:
    """Weights as `Layer` has them, from the file's layout."""
    return np.ascontiguousarray(weights.transpose(_TO_LAYER[operator]))


def from_layer(weights: Floats, operator: str) -> Floats:
    """Weights in the file's layout, from that of `Layer`."""
    return np.ascontiguousarray(weights.transpose(np.argsort(_TO_LAYER[operator])))


def _replace(model: Any, graph: Any, node: Any, place: int, values: Floats) -> None:
    tensor = input_tensor(graph, node, place)
    if tensor is not None and readers(model)[tensor.buffer] == 1:
        model.buffers[tensor.buffer].data = values.reshape(-1).view(np.uint8)
    else:
        give_own_constant(model, graph, node, place, values)


def _or_nothing(bias: Floats | None) -> Floats:
    return np.empty(0, dtype=np.float32) if bias is None else bias


def _layer(model: Any, graph: Any, node: Any) -> Layer | None:
    operator = operator_of(model, node)
    if operator not in _TO_LAYER:
        return None
    source = input_tensor(graph, node, 0)
    weights = constant(model, input_tensor(graph, node, WEIGHTS))
    bias_tensor = input_tensor(graph, node, BIAS)
    bias = constant(model, bias_tensor)
    options = node.builtinOptions
    if source is None or weights is None or options is None:
        return None
    bounds = _bounds(options)
    if bounds is None or (bias_tensor is not None and bias is None):
        return None
    convolution = None
    if operator != "FULLY_CONNECTED":
        convolution = _geometry(source, weights, options, operator)
    elif int(source.shape[-1]) != weights.shape[1] or options.weightsFormat:
        return None
    return Layer(
        name=node_name(graph, node),
        operator=operator,
        input=name_of(source),
        output=node_name(graph, node),
        weight=name_of(graph.tensors[node.inputs[WEIGHTS]]),
        weights=to_layer(weights, operator),
        bias=None if bias is None else bias.reshape(-1),
        convolution=convolution,
        channels_last=True,
        bounds=bounds,
    )


def _bounds(options: Any) -> tuple[float, float] | None:
    """What the fused activation clips to; None where it is something else."""
    from ai_edge_litert.schema_py_generated import ActivationFunctionType as Activation

    return {
        Activation.NONE: (-np.inf, np.inf),
        Activation.RELU: (0.0, np.inf),
        Activation.RELU_N1_TO_1: (-1.0, 1.0),
        Activation.RELU6: (0.0, 6.0),
    }.get(options.fusedActivationFunction)


def _geometry(source: Any, weights: Floats, options: Any, operator: str) -> Convolution:
    """Weights are in the file's layout, [out or 1, height, width, in / groups or out]."""
    from ai_edge_litert.schema_py_generated import Padding

    channels = int(source.shape[-1])
    strides = (int(options.strideH), int(options.strideW))
    dilations = (int(options.dilationHFactor), int(options.dilationWFactor))
    pads = [(0, 0), (0, 0)]
    if options.padding == Padding.SAME:
        pads = [
            _same(int(source.shape[1 + axis]), weights.shape[1 + axis], strides[axis],
                  dilations[axis])
            for axis in (0, 1)
        ]  # fmt: skip
    (top, bottom), (left, right) = pads
    depthwise = operator == "DEPTHWISE_CONV_2D"
    return Convolution(
        strides=strides,
        pads=(top, left, bottom, right),
        dilations=dilations,
        groups=channels if depthwise else channels // weights.shape[3],
    )


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after, for ceil(size / stride) outputs (TFLite's padding.h)."""
    outputs = -(-size // stride)
    reach = (kernel - 1) * dilation + 1
    total = max((outputs - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
