"""What an accelerator computes in, against the types of the products that are placed on it."""

from __future__ import annotations

from collections.abc import Iterator

from .dtypes import FLOATS
from .facts import CONVOLUTIONS, MATRIX_PRODUCTS, ModelFacts
from .finding import MOST_NODES, Finding
from .graph_view import GraphView
from .placement import Placement
from .profile import Accelerator


def float_on_integers(
    facts: ModelFacts, accelerator: Accelerator, placement: Placement
) -> Iterator[Finding]:
    """Products in floating point on an accelerator that computes with integers alone.

    A delegate's table says what is offered to it. What becomes of floating point there, the
    compiler or driver decides: it quantizes by itself, computes slowly, or elsewhere.
    """
    if not accelerator.precisions or FLOATS & set(accelerator.precisions):
        return
    there = {(n.graph, n.index) for n in placement.nodes if n.place == "accelerator"}
    names = []
    for graph in facts.graphs:
        view = GraphView(graph)
        for node in graph.nodes:
            if node.operator not in CONVOLUTIONS | MATRIX_PRODUCTS:
                continue
            data = view.data_input(node)
            if data is None or (graph.name, node.index) not in there:
                continue
            if view.stored(data).dtype in FLOATS:
                names.append(node.name)
    if names:
        yield Finding(
            severity="warning",
            code="accelerator-precision",
            nodes=tuple(names[:MOST_NODES]),
            count=len(names),
            reason=f"the {accelerator.name} computes in {', '.join(accelerator.precisions)}, and "
            f"{len(names)} products are in floating point: whether they are quantized on the way, "
            "computed slowly, or elsewhere, nobody says",
            remedy="quantize it to int8 with static ranges, or measure on the device",
            source=accelerator.source,
            answer="unknown",
        )
