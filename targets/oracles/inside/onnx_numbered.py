"""An ONNX model whose nodes carry their place in the file as a name, so that answers name them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ....errors import UsageError
from ...onnx_file import all_graphs, parse_onnx

#: What runtimes make of the name, when they copy, inline or transform the node, has it inside.
_NAME = re.compile(r"graph(\d+)node(\d+)\.")

#: ONNX Runtime's own markers before its reason: status, source file, C++ function.
_NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:/\S+:\d+ .*\)\s)?")


def numbered(path: Path, sizes: list[int]) -> Any:
    """The ModelProto with its nodes renamed; values in other files are not read.

    Args:
        sizes: how many nodes each graph has by `ModelFacts.graphs`.

    Raises:
        UsageError: the file is no ONNX model, or has other graphs.
    """
    model = parse_onnx(path)
    if model is None:
        raise UsageError(f"{path} is not an ONNX model")
    graphs = list(all_graphs(model.graph))
    if [len(graph.node) for graph in graphs] != sizes:
        raise UsageError(f"{path} holds graphs that nothing refers to")
    for position, graph in enumerate(graphs):
        for index, node in enumerate(graph.node):
            node.name = f"graph{position}node{index}."
    return model


def node_of(name: str) -> tuple[int, int] | None:
    """The positions of the graph and the node that a name stands for."""
    found = _NAME.search(name)
    return (int(found[1]), int(found[2])) if found else None


def session(model: Any, path: Path, options: Any, **arguments: Any) -> Any:
    """An InferenceSession of a path or a ModelProto; values in other files are beside `path`.

    Weights are not packed for the CPU, and nothing is optimized: nodes are placed, not run.
    """
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    if model is None:
        return onnxruntime.InferenceSession(str(path), options, **arguments)
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent)
    )
    return onnxruntime.InferenceSession(model.SerializeToString(), options, **arguments)


def refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: one class for each status, without a base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return tuple(kind for kind in found if issubclass(kind, Exception))


def words(error: Exception) -> str:
    """An error of ONNX Runtime without its markers."""
    return _NOISE.sub("", " ".join(str(error).split()))
