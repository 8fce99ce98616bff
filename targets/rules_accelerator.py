"""What does not run on the accelerator that a device promises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from .conditions_types import CONVERSIONS
from .facts import GraphFacts, ModelFacts
from .finding import Finding, of_node
from .graph_view import GraphView
from .judge import Verdict
from .place import NodeKey
from .placement import NodePlacement, Placement
from .profile import Accelerator, TargetProfile
from .remedies import file_of, remedy_for
from .support_files import support_table
from .support_table import SupportTable

#: Where more of the work stays on the CPU, the accelerator is not what runs the model.
_MOST_ADMITTED = 0.5


def fallback_findings(
    facts: ModelFacts,
    accelerator: Accelerator,
    table: SupportTable,
    placement: Placement,
    verdicts: Mapping[NodeKey, Verdict],
    allowed: float | None,
) -> Iterator[Finding]:
    """What runs on the CPU although the accelerator was promised, and what nobody can tell.

    Args:
        placement: where each node runs with the accelerator.
        verdicts: what its table says, for the reasons.
        allowed: the share of the multiply-accumulates that may stay on the CPU; None: nothing.
    """
    graphs = {graph.name: graph for graph in facts.graphs}
    border = {key for graph in facts.graphs for key in _border(graph)}
    unpacking = {key for graph in facts.graphs for key in _unpacking(graph)}
    fallback = [
        node
        for node in placement.nodes
        if node.place in ("cpu", "nowhere")
        and (node.graph, node.index) not in border
        and (node.graph, node.index) not in unpacking
    ]
    share = placement.share(fallback)
    admitted = allowed is not None and share is not None and share <= allowed
    # What converts between types follows the layers that make it necessary.
    for node in sorted(placement.nodes, key=lambda node: node.operator in CONVERSIONS):
        key = (node.graph, node.index)
        verdict = verdicts.get(key)
        if node.place == "accelerator":
            # A compiler that is asked hands on what is compiled already, without looking at it.
            compiled = node.operator == table.compiled_operator
            condition = verdict.note if verdict is not None and compiled else node.reason
            if condition is not None:
                yield _on_condition(node, accelerator, placement, verdict, condition)
        if node.place == "accelerator" or key in unpacking:
            continue
        if key in border:
            yield _at_border(node, accelerator, graphs[node.graph])
        elif node.place == "unknown":
            yield _unknown(node, accelerator, placement)
        else:
            remedy = _step(node, table, verdict, facts) + ("" if admitted else _admitting(share))
            yield _fallback(node, accelerator, table, placement, verdict, admitted, remedy)
    if placement.count("accelerator"):
        yield from _not_compiled(facts, accelerator, table)


def _border(graph: GraphFacts) -> Iterator[NodeKey]:
    """Conversions that stand directly at the model's inputs or outputs."""
    if graph.name:
        return
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    for node in graph.nodes:
        if node.operator not in CONVERSIONS:
            continue
        if (node.inputs and node.inputs[0] in inputs) or any(o in outputs for o in node.outputs):
            yield graph.name, node.index


def _unpacking(graph: GraphFacts) -> Iterator[NodeKey]:
    """What only unpacks stored values: that is done once, before the first inference."""
    constants = GraphView(graph).constants
    for node in graph.nodes:
        if node.outputs and all(output in constants for output in node.outputs):
            yield graph.name, node.index


def _fallback(
    node: NodePlacement,
    accelerator: Accelerator,
    table: SupportTable,
    placement: Placement,
    verdict: Verdict | None,
    admitted: bool,
    remedy: str,
) -> Finding:
    why = node.reason or f"{placement.said_by} leaves it there and gives no reason"
    return of_node(
        node,
        "info" if admitted else "error",
        "accelerator-fallback",
        reason=f"runs on the CPU and not on the {accelerator.name}: {why}",
        remedy=remedy,
        source=(verdict.source if verdict else None) or table.source,
        answer=placement.answer,
    )


def _step(
    node: NodePlacement, table: SupportTable, verdict: Verdict | None, facts: ModelFacts
) -> str:
    """What brings a node to the accelerator."""
    if verdict is not None and verdict.answer == "no":
        return remedy_for(verdict, node.operator, table, facts)
    return "change what stands before it and does not run there"


def _admitting(share: float | None) -> str:
    """How the check passes as the model is, with the share that all fallback has."""
    if share is None:
        return "; or export with fixed shapes, so that the share of the fallback is known"
    if share == 0:
        return "; or admit it, as no multiply-accumulates stay on the CPU: --allow-fallback 0"
    if share > _MOST_ADMITTED:
        return "; or check for the CPU alone: --accelerator none"
    return f"; or admit it: --allow-fallback {math.ceil(share * 100) / 100:g}"


def _on_condition(
    node: NodePlacement,
    accelerator: Accelerator,
    placement: Placement,
    verdict: Verdict | None,
    condition: str,
) -> Finding:
    return of_node(
        node,
        "info",
        "accelerator-condition",
        reason=f"runs on the {accelerator.name} on a condition that nobody checked: {condition}",
        remedy="compare the condition with the layer, or measure on the device",
        source=(verdict.source if verdict else None) or placement.said_by,
        answer="unknown",
    )


def _unknown(node: NodePlacement, accelerator: Accelerator, placement: Placement) -> Finding:
    return of_node(
        node,
        "warning",
        "accelerator-unknown",
        reason=f"may not run on the {accelerator.name}: {node.reason}",
        remedy="measure on the device, with the accelerator and without",
        source=placement.said_by,
        answer="unknown",
    )


def _at_border(node: NodePlacement, accelerator: Accelerator, graph: GraphFacts) -> Finding:
    start = node.operator in ("QUANTIZE", "QuantizeLinear")
    return of_node(
        node,
        "info",
        "accelerator-border",
        reason=f"{'inputs are quantized' if start else 'outputs are dequantized'} on the CPU, "
        f"beside the {accelerator.name}",
        remedy="let the application give and take integers, to save the conversion",
    )


def _not_compiled(
    facts: ModelFacts, accelerator: Accelerator, table: SupportTable
) -> Iterator[Finding]:
    if table.compiler is None or table.compiled_operator is None:
        return
    if any(operator.name == table.compiled_operator for operator in facts.operators):
        return
    options = [f"--{k.replace('_', '-')} {v}" for k, v in accelerator.compiler_options.items()]
    yield Finding(
        severity="info",
        code="accelerator-not-compiled",
        reason=f"the {accelerator.name} runs compiled models; as it is, this one runs on the CPU",
        remedy="compile it and deploy what that makes: "
        + " ".join([table.compiler, file_of(facts), *options]),
        source=table.source,
    )


def compiled_for_others(
    facts: ModelFacts, profile: TargetProfile, accelerator: Accelerator | None
) -> Iterator[Finding]:
    """A model that was compiled for an accelerator of the device, and is to run without it."""
    own = set(accelerator.support) if accelerator is not None else set()
    present = {operator.name: operator.count for operator in facts.operators}
    for other in profile.accelerators:
        tables = [t for name in set(other.support) - own if (t := support_table(name)) is not None]
        for table in tables:
            if table.compiled_operator in present:
                yield Finding(
                    severity="error",
                    code="custom-operator",
                    operator=table.compiled_operator,
                    count=present[table.compiled_operator],
                    reason=f"the model was compiled for the {other.name}, and nothing else runs "
                    "what the compiler made",
                    remedy=f"check it with --accelerator {other.id}, or check the model that it "
                    "was compiled from",
                    source=table.source,
                )


def without_table(facts: ModelFacts, accelerator: Accelerator) -> Finding:
    """Of an accelerator that has no table for the format."""
    return Finding(
        severity="warning",
        code="accelerator-unknown",
        reason=f"nobody says what the {accelerator.name} runs of {facts.format} models",
        remedy="measure on the device, with the accelerator and without",
        answer="unknown",
    )


def unreachable(facts: ModelFacts, accelerator: Accelerator, ways: list[SupportTable]) -> Finding:
    """Of an accelerator that only other formats or runtimes reach."""
    formats = sorted({table.format for table in ways} - {facts.format})
    runtimes = sorted({name for table in ways for name in table.runtimes})
    titles = ", ".join(table.title for table in ways)
    return Finding(
        severity="error",
        code="accelerator-unreachable",
        reason=f"the {accelerator.name} is reached by {titles}, not from {facts.format} models "
        "in this runtime",
        remedy=f"export with --format {formats[0]}, or check with --accelerator none"
        if formats
        else f"use {' or '.join(runtimes)}, or check with --accelerator none",
    )
