"""How a delegate cuts a graph into pieces."""

from __future__ import annotations

import heapq
from collections.abc import Collection

from .facts import GraphFacts


def partitions(graph: GraphFacts, supported: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """The pieces that run on an accelerator, in the order of execution.

    As TFLite's GraphPartitionHelper cuts (tensorflow/lite/graph_info.cc,
    PartitionGraphIntoIndependentNodeSubsets): the first node that is ready decides whether a piece
    is the delegate's or the CPU's, and the piece takes all nodes of that kind that become ready;
    then it is the other kind's turn. No piece waits for a node that waits for the piece. ONNX
    Runtime's execution providers group alike (onnxruntime/core/providers/partitioning_utils.cc).

    Args:
        supported: positions in `graph.nodes`.

    Returns:
        Positions in `graph.nodes`, ascending in each piece; every supported node is in exactly one,
        but those that wait for a tensor that nobody makes.
    """
    makers = {t: at for at, node in enumerate(graph.nodes) for t in node.outputs if t >= 0}
    waiting: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    for at, node in enumerate(graph.nodes):
        needs = {makers[t] for t in node.inputs if t in makers}
        waiting[at] = len(needs)
        for maker in needs:
            readers.setdefault(maker, []).append(at)
    is_supported = [False] * len(graph.nodes)
    for at in supported:
        is_supported[at] = True
    ready: dict[bool, list[int]] = {True: [], False: []}
    for at, count in waiting.items():
        if not count:
            heapq.heappush(ready[is_supported[at]], at)
    pieces: list[tuple[int, ...]] = []
    kind = bool(ready[True]) and (not ready[False] or ready[True][0] < ready[False][0])
    while ready[True] or ready[False]:
        piece: list[int] = []
        while ready[kind]:
            at = heapq.heappop(ready[kind])
            piece.append(at)
            for reader in readers.get(at, ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready[is_supported[reader]], reader)
        if kind and piece:
            pieces.append(tuple(sorted(piece)))
        kind = not kind
    return tuple(pieces)


def limited(
    pieces: tuple[tuple[int, ...], ...], most: int | None, largest: bool
) -> tuple[tuple[int, ...], ...]:
    """The pieces that run on the accelerator where there is a limit: the largest or the first."""
    if most is None or len(pieces) <= most:
        return pieces
    if not largest:
        return pieces[:most]
    kept = sorted(range(len(pieces)), key=lambda at: (-len(pieces[at]), at))[:most]
    return tuple(pieces[at] for at in sorted(kept))
