"""Which subgraphs of a TFLite file run which others, and how often in one inference."""

from __future__ import annotations

from collections.abc import Sequence

from .tflite_file import TfliteSubgraph

#: Operators that run their subgraph exactly once.
_ONCE = frozenset({"CALL", "STABLEHLO_COMPOSITE"})

#: Operators that run their subgraph before the first inference only.
_BEFOREHAND = frozenset({"CALL_ONCE"})


def callers_first(graphs: Sequence[TfliteSubgraph]) -> list[int]:
    """Positions of the subgraphs, each after all that run it, without those in a circle."""
    callees = [{g for node in graph.nodes for g in node.graphs} for graph in graphs]
    waiting = [0] * len(graphs)
    for called in callees:
        for graph in called:
            waiting[graph] += 1
    ready = [graph for graph, count in enumerate(waiting) if count == 0]
    for graph in ready:
        for callee in callees[graph]:
            waiting[callee] -= 1
            if waiting[callee] == 0:
                ready.append(callee)
    return ready


def runs_per_inference(graphs: Sequence[TfliteSubgraph]) -> list[int | None]:
    """How often an inference of the main graph runs each subgraph.

    None is for branches and loop bodies, where the data decide. Graphs that only other signatures
    run count 0, as do those that only run before the first inference.
    """
    order = callers_first(graphs)
    runs: list[int | None] = [None] * len(graphs)
    for graph in order:
        runs[graph] = 1 if graph == 0 else 0
    for graph in order:
        for node in graphs[graph].nodes:
            for callee in node.graphs:
                runs[callee] = _add(runs[callee], runs[graph], node.operator)
    return runs


def _add(so_far: int | None, caller: int | None, operator: str) -> int | None:
    if operator in _BEFOREHAND or caller == 0:
        return so_far
    if operator not in _ONCE or caller is None or so_far is None:
        return None
    return so_far + caller
