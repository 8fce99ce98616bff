"""Weights that an accelerator has no room to keep."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import ModelFacts
from .finding import Finding
from .graph_view import GraphView
from .placement import Placement
from .profile import Accelerator
from .sizes import size_text
from .support_table import SupportTable


def beyond_the_cache(
    facts: ModelFacts, accelerator: Accelerator, table: SupportTable, placement: Placement
) -> Iterator[Finding]:
    """More weights on an accelerator than it keeps from one inference to the next.

    Source: Coral, "Edge TPU Compiler", Parameter data caching.
    """
    cache = accelerator.weight_cache_bytes
    if cache is None:
        return
    if any(operator.name == table.compiled_operator for operator in facts.operators):
        size, what = facts.size_bytes, "the compiled model has"
    else:
        size, what = _weight_bytes(facts, placement), "the weights of what runs there have"
    if size > cache:
        yield Finding(
            severity="info",
            code="accelerator-cache",
            reason=f"{what} {size_text(size)}, and the {accelerator.name} keeps about "
            f"{size_text(cache)} on the chip, less what compiled code takes: the rest is fetched "
            "over the bus at each inference",
            remedy="choose a model with fewer or narrower layers, or measure on the device what "
            "that costs",
            source=accelerator.source,
        )


def _weight_bytes(facts: ModelFacts, placement: Placement) -> int:
    """Bytes of the constants that nodes on the accelerator read, each once."""
    there = {(n.graph, n.index) for n in placement.nodes if n.place == "accelerator"}
    sizes: dict[str, int] = {}
    for graph in facts.graphs:
        view = GraphView(graph)
        for node in graph.nodes:
            if (graph.name, node.index) not in there:
                continue
            for index in node.inputs:
                if index in view.constants:
                    tensor = graph.tensors[index]
                    sizes[tensor.constant or tensor.name] = tensor.constant_bytes
    return sum(sizes.values())
