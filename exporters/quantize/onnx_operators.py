"""The operators of an ONNX model, as rules see them."""

from __future__ import annotations

from pathlib import Path

from .layers import Operator
from .onnx_model import prepare


def operators(model_path: Path) -> list[Operator]:
    """Every node of the graph that `tap` runs, in its order."""
    return [
        Operator(node.name, node.op_type, tuple(node.input), tuple(node.output))
        for node in prepare(model_path).graph.node
    ]


def output_names(model_path: Path) -> list[str]:
    """The tensors that the model gives."""
    return [output.name for output in prepare(model_path).graph.output]
