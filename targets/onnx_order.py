"""Puts the nodes of an ONNX graph in an order in which they can run.

ONNX demands topological order; ONNX Runtime does not insist on it, and quantizers append nodes.
"""

from __future__ import annotations

import heapq
from typing import Any

from .onnx_file import all_graphs, graphs_of


def sort_nodes(graph: Any) -> None:
    """Sorts a graph and those inside it in place; nodes that are in order already stay there.

    Raises:
        ValueError: nodes wait for each other.
    """
    for inner in all_graphs(graph):
        if not _is_sorted(inner):
            nodes = [inner.node[position] for position in _order(inner)]
            copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
            del inner.node[:]
            inner.node.extend(copies)


def reads_of(node: Any) -> set[str]:
    """The names that a node reads, those that only graphs inside it read included.

    Names that the inner graphs define themselves are among them.
    """
    names = {name for name in node.input if name}
    for graph in graphs_of(node):
        names |= {value.name for value in graph.output}
        for inner in graph.node:
            names |= reads_of(inner)
    return names


def _is_sorted(graph: Any) -> bool:
    """Whether no node reads what a later one writes."""
    later: set[str] = set()
    for node in reversed(graph.node):
        later.update(node.output)
        if not later.isdisjoint(reads_of(node)):
            return False
    return True


def _order(graph: Any) -> list[int]:
    """Positions in the order of Kahn's algorithm, the first that is ready first."""
    producers = {
        name: position for position, node in enumerate(graph.node) for name in node.output if name
    }
    waits: list[int] = []
    readers: dict[int, list[int]] = {}
    for position, node in enumerate(graph.node):
        sources = {producers[name] for name in reads_of(node) if name in producers}
        waits.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(position)
    ready = [position for position, count in enumerate(waits) if count == 0]
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for reader in readers.get(position, ()):
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(waits):
        raise ValueError("nodes wait for each other's outputs")
    return order
