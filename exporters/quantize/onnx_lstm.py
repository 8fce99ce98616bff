"""LSTM with integer weights: the one recurrent operator that ONNX Runtime quantizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper

from .grid import Floats
from .onnx_graph import CONTRIB, Graph, Node, options
from .recipe import Scheme
from .weights import quantize_weights


def is_quantizable(graph: Graph, node: Node) -> bool:
    """Whether it is an LSTM with constant weights, and time along its first axis."""
    return (
        node.op_type == "LSTM"
        and not options(node).get("layout", 0)
        and all(graph.float_constant(name) is not None for name in node.input[1:3])
    )


def quantize_lstms(graph: Graph, chosen: Mapping[str, Scheme]) -> None:
    """Replaces the LSTMs of these names by DynamicQuantizeLSTM (ContribOperators.md)."""
    for node in graph.nodes:
        if node.name not in chosen:
            continue
        inputs = [*node.input, *[""] * (8 - len(node.input))]
        for place in (1, 2):
            weights = graph.float_constant(node.input[place])
            assert weights is not None
            integers, scale, zero_point = _quantized(weights, chosen[node.name], node.name)
            name = node.input[place]
            inputs[place] = graph.add(integers, f"{name}_quantized")
            inputs.append(graph.add(scale, f"{name}_scale"))
            inputs.append(graph.add(zero_point, f"{name}_zero_point"))
        settings = {name: value for name, value in options(node).items() if name != "layout"}
        outputs = list(node.output)
        node.CopyFrom(
            helper.make_node(
                "DynamicQuantizeLSTM", inputs, outputs, node.name, domain=CONTRIB, **settings
            )
        )


def _quantized(
    weights: Floats, scheme: Scheme, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[directions, out, in] -> integers [directions, in, out], and a scale and zero point for each
    direction or each of its channels."""
    kind = np.uint8 if scheme.weights == "uint8" else np.int8
    made = [quantize_weights(direction, scheme, name=name) for direction in weights]
    integers = np.stack([each.integers.T for each in made]).astype(kind)
    scale = np.stack([each.scale for each in made])
    zero_point = np.stack([each.zero_point for each in made]).astype(kind)
    if scheme.granularity == "per-tensor":
        return integers, scale[:, 0], zero_point[:, 0]
    return integers, scale, zero_point
