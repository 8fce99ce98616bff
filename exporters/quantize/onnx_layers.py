"""Layers of an ONNX model, and copies of it with other weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from ...errors import UsageError
from .layers import Convolution, Layer, LayerWeights
from .onnx_graph import Graph, Node, options
from .onnx_model import prepare, tie_transposed
from .onnx_units import Unit, find_units


def layers(model_path: Path) -> list[Layer]:
    """Convolutions over one or two axes and matrix products with constant weights, in their order.

    A convolution over one axis is one of height 1. Names and tensors are those of the graph that
    `tap` runs. A convolution whose padding is said in words ('SAME_UPPER') is left out where the
    size of its input is not in the file.
    """
    graph = Graph(prepare(model_path))
    found = (_layer(graph, unit) for unit in find_units(graph))
    return [layer for layer in found if layer is not None]


def with_weights(model_path: Path, changed: Mapping[str, LayerWeights], destination: Path) -> None:
    """Writes the float model with other weights in the layers of these names.

    Weights that other nodes share stay theirs. A layer without a bias gets one where one is given;
    a bias of None leaves the layer the one that it has.

    Raises:
        UsageError: the model has no such layer, or the weights have another shape.
    """
    graph = Graph(prepare(model_path))
    units = {unit.node.name: unit for unit in find_units(graph) if not unit.is_embedding}
    for name, new in changed.items():
        if name not in units:
            raise UsageError(f"{model_path.name} has no layer {name}")
        _change(graph, units[name], new)
    model = graph.finish()
    tie_transposed(model)
    onnx.save(model, str(destination))


def _layer(graph: Graph, unit: Unit) -> Layer | None:
    if unit.is_embedding:
        return None
    weights = unit.weights(graph)
    convolution = None
    if unit.node.op_type == "Conv":
        if weights.ndim not in (3, 4):
            return None
        convolution = _geometry(graph, unit.node, weights.shape[2:])
        if convolution is None:
            return None
        if weights.ndim == 3:
            weights = weights[:, :, None, :]
    bias = None if unit.bias is None else graph.float_constant(unit.bias)
    return Layer(
        name=unit.node.name,
        operator=unit.node.op_type,
        input=unit.input,
        output=unit.output,
        weight=unit.weight,
        weights=weights,
        bias=None if bias is None else bias.ravel(),
        convolution=convolution,
        channels_last=convolution is None,
        bounds=unit.bounds,
    )


def _geometry(graph: Graph, node: Node, kernel: tuple[int, ...]) -> Convolution | None:
    settings = options(node)
    axes = len(kernel)
    strides = tuple(settings.get("strides", [1] * axes))
    dilations = tuple(settings.get("dilations", [1] * axes))
    pads = _pads(graph, node, kernel, strides, dilations)
    if pads is None:
        return None
    if axes == 1:
        strides, dilations, pads = (1, *strides), (1, *dilations), (0, pads[0], 0, pads[1])
    return Convolution(
        strides=(strides[0], strides[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilations=(dilations[0], dilations[1]),
        groups=int(settings.get("group", 1)),
    )


def _pads(
    graph: Graph,
    node: Node,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...] | None:
    """Before and after each axis, (begins..., ends...); None where they can't be known."""
    settings = options(node)
    automatic = settings.get("auto_pad", b"NOTSET").decode()
    if automatic == "NOTSET":
        return tuple(settings.get("pads", [0] * (2 * len(kernel))))
    if automatic == "VALID":
        return (0,) * (2 * len(kernel))
    sizes = (graph.shape(node.input[0]) or [None] * (2 + len(kernel)))[2:]
    begins, ends = [], []
    for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if size is None:
            return None
        steps = -(-size // stride)
        total = max((steps - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(large if automatic == "SAME_LOWER" else small)
        ends.append(small if automatic == "SAME_LOWER" else large)
    return (*begins, *ends)


def _change(graph: Graph, unit: Unit, new: LayerWeights) -> None:
    old = graph.float_constant(unit.weight)
    assert old is not None
    node = unit.node
    # What `_layer` gave a convolution over one axis.
    one_axis = node.op_type == "Conv" and old.ndim == 3
    weights = unit.in_file(new.weights[:, :, 0] if one_axis else new.weights)
    bias_fits = new.bias is None or new.bias.shape == (len(new.weights),)
    if weights.shape != old.shape or not bias_fits:
        raise UsageError(f"layer {node.name} has weights of shape {list(old.shape)} in the file")
    node.input[unit.weight_place] = graph.add(weights.astype(np.float32), f"{node.name}_weights")
    if new.bias is None:
        return
    bias = graph.add(new.bias.astype(np.float32), f"{node.name}_new_bias")
    if unit.bias_node is not None:
        place = list(unit.bias_node.input).index(unit.bias)
        unit.bias_node.input[place] = bias
    elif node.op_type == "MatMul":
        output = node.output[0]
        node.output[0] = graph.name(f"{output}_product")
        name = graph.name(f"{node.name}_bias")
        add = helper.make_node("Add", [node.output[0], bias], [output], name)
        graph.nodes.insert(graph.nodes.index(node) + 1, add)
    elif len(node.input) > 2:
        node.input[2] = bias
    else:
        node.input.append(bias)
