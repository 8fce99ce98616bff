"""What an accelerator computes in, against the types of the products that are placed on it."""

from __future__ import annotations

from collections.abc import Iterator

from .dtypes import FLOATS
from .facts import CONVOLUTIONS, MATRIX_PRODUCTS, ModelFacts
from .finding import MOST_NODES, Finding
from .graph_view import GraphView
from .placement import Placement
from .profile import Accelerator
from .support_table import SupportTable


def float_on_integers(
    facts: ModelFacts, accelerator: Accelerator, table: SupportTable, placement: Placement
) -> Iterator[Finding]:
    """Products in floating point on an accelerator that computes with integers alone.

    A delegate's table says what is offered to it. What becomes of floating point there, the
    compiler or driver decides: it quantizes by itself (where its table says so, that is the usual
    way), computes slowly, or elsewhere.
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
    if not names:
        return
    itself = table.quantizes_itself
    what = (
        f"the {accelerator.name} computes in {', '.join(accelerator.precisions)}, and {len(names)} "
        "products are in floating point: "
    )
    yield Finding(
        severity="warning" if itself is None else "info",
        code="accelerator-precision",
        nodes=tuple(names[:MOST_NODES]),
        count=len(names),
        reason=what
        + (
            "whether they are quantized on the way, computed slowly, or elsewhere, nobody says"
            if itself is None
            else "its compiler quantizes them itself, and how exact the result is shows there only"
        ),
        remedy="quantize it to int8 with static ranges, or measure on the device"
        if itself is None
        else "calibrate the compiler with data like the application's, and measure the accuracy of "
        "what it makes on the device",
        source=itself or accelerator.source,
        answer="unknown" if itself is None else "tabled",
    )
