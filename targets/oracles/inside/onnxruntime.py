"""ONNX Runtime with a model, and with what is left of it without the nodes that it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...onnx_file import all_graphs, dtype_name
from .onnx_numbered import node_of, numbered, refusals, session, words

#: Each refusal costs a load; models that lack more kernels than this are told in part.
_MOST_REFUSALS = 32

_OPERATOR = re.compile(r"Fatal error: (\S*?):?([^\s:(]+)\(-?\d+\) is not a registered function/op")


def refused(path: str, types: list[list[list[str]]]) -> dict[str, Any]:
    """For the sandbox: the nodes that ONNX Runtime has no kernel for.

    Args:
        types: element type of each output of each node of each graph.

    Returns:
        'refused': graph, node and reason of each; 'rest': why the model without them still does
        not load, None if it does.

    Raises:
        UsageError: the file is no ONNX model.
    """
    file = Path(path)
    failure = _failure(None, file)
    found: list[tuple[int, int, str]] = []
    if failure is None:
        return {"refused": found, "rest": None}
    model = numbered(file, [len(graph) for graph in types])
    while (failure := _failure(model, file)) is not None and len(found) < _MOST_REFUSALS:
        blamed = list(_blamed(model, failure))
        found += [(graph, index, _told(failure)) for graph, index in blamed]
        cut = [_cut(model, (graph, index), types[graph][index]) for graph, index in blamed]
        if not cut or not all(cut):
            break
    return {"refused": found, "rest": None if failure is None else _told(failure)}


def _failure(model: Any, path: Path) -> str | None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session(model, path, options, providers=["CPUExecutionProvider"])
    except refusals() as error:
        return words(error)
    return None


def _told(failure: str) -> str:
    """Without the names that this module gave the nodes."""
    failure = failure.replace("This is an invalid model. ", "")
    failure = re.sub(r"In Node, \(.*\) , Error ", "", failure)
    return re.sub(r" (?:with name|in node) [('\"]+graph\d+node\d+\.[)'\"]+", "", failure)


def _blamed(model: Any, failure: str) -> Iterator[tuple[int, int]]:
    """The nodes that a refusal is about: the one it names, or all of the operator it names."""
    if (key := node_of(failure)) is not None:
        yield key
    elif operator := _OPERATOR.search(failure):
        for graph in all_graphs(model.graph):
            for node in graph.node:
                same = (node.domain, node.op_type) == (operator[1], operator[2])
                if same and (key := node_of(node.name)) is not None:
                    yield key


def _cut(model: Any, key: tuple[int, int], types: list[str]) -> bool:
    """Puts inputs of the model in the place of a node.

    Args:
        types: of the node's outputs.

    Returns:
        False where a type is unknown, or the node is gone.
    """
    from onnx import TensorProto, helper

    by_name = {dtype_name(value): value for value in TensorProto.DataType.values() if value}
    if not all(name in by_name or not name for name in types):
        return False
    for graph in all_graphs(model.graph):
        for position, node in enumerate(graph.node):
            if node_of(node.name) != key:
                continue
            outputs = list(node.output)
            del graph.node[position]
            for output, name in zip(outputs, types, strict=True):
                if name:
                    source = f"in place of {output}"
                    value = helper.make_tensor_value_info(source, by_name[name], None)
                    model.graph.input.append(value)
                    graph.node.insert(position, helper.make_node("Identity", [source], [output]))
            return True
    return False
