"""LiteRT with its default delegate."""

from __future__ import annotations

from typing import Any

from ....errors import UsageError
from .litert_graphs import litert_graphs
from .overhear import plain


def delegated(path: str) -> dict[str, Any]:
    """For the sandbox: every graph of a file after LiteRT's default delegates were applied.

    Raises:
        UsageError: LiteRT can't load the file, or does not show its graphs.
    """
    from ai_edge_litert.interpreter import Interpreter

    failure = None
    try:
        interpreter = Interpreter(model_path=path, num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"LiteRT can't load {path}: {plain(str(error))}") from error
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        failure = plain(str(error))
    try:
        graphs = litert_graphs(interpreter)
    except LookupError as error:
        raise UsageError(
            f"LiteRT did not say what its delegate takes: {failure or error}"
        ) from error
    return {
        "failure": failure,
        "graphs": [{"outputs": graph.outputs, "pieces": graph.pieces} for graph in graphs],
    }
