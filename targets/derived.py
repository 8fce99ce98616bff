"""What follows from a model's graphs, the same for both formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .facts import ModelFacts, QuantizedProducts
from .scheme import describe_scheme
from .tally import QuantizedUse
from .unfused import unfused_pairs
from .weights import stored_constants, sum_weights


def with_derived(facts: ModelFacts, uses: Sequence[QuantizedUse | None]) -> ModelFacts:
    """Adds weights, scheme and QDQ pairs that don't fuse to facts that have graphs.

    Args:
        uses: how each node was quantized, in the order of the graphs' nodes.
    """
    return replace(
        facts,
        weights=sum_weights(stored_constants(facts.graphs, facts.format)),
        scheme=describe_scheme(facts.graphs, uses),
        unfused=unfused_pairs(facts.graphs) if facts.format == "onnx" else (),
        quantized=_named(facts, uses),
    )


def _named(facts: ModelFacts, uses: Sequence[QuantizedUse | None]) -> tuple[QuantizedProducts, ...]:
    """The quantized products with their nodes' names."""
    names: dict[tuple[object, ...], list[str]] = {}
    nodes = (node for graph in facts.graphs for node in graph.nodes)
    for node, use in zip(nodes, uses, strict=True):
        if use is not None:
            how = (use.activation_dtype, use.weight_dtype, use.per_channel, use.dynamic)
            names.setdefault((node.operator, *how), []).append(node.name)
    return tuple(
        replace(
            q,
            nodes=tuple(
                names.get(
                    (q.operator, q.activation_dtype, q.weight_dtype, q.per_channel, q.dynamic), ()
                )
            ),
        )
        for q in facts.quantized
    )
