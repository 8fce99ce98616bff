"""Operators against what the device's runtime has kernels for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from .facts import ModelFacts, Node
from .finding import Finding, of_node
from .judge import Verdict
from .place import NodeKey
from .placement import Answer
from .remedies import file_of, remedy_for
from .support_table import SupportTable
from .versions import is_foreign


def kernel_findings(
    facts: ModelFacts,
    table: SupportTable,
    verdicts: Mapping[NodeKey, Verdict],
    elsewhere: Collection[NodeKey],
    answer: Answer,
) -> Iterator[Finding]:
    """One finding for each node that the runtime has no kernel for, or may have none.

    Args:
        table: of the runtime.
        elsewhere: nodes that run on the accelerator, and need no kernel.
        answer: who decided.
    """
    for graph in facts.graphs:
        for node in graph.nodes:
            verdict = verdicts[graph.name, node.index]
            if verdict.answer == "yes" or (graph.name, node.index) in elsewhere:
                continue
            # `rules_runtime` has a word on the others.
            if not is_foreign(node.operator):
                yield _finding(node, verdict, table, facts, answer)


def _finding(
    node: Node, verdict: Verdict, table: SupportTable, facts: ModelFacts, answer: Answer
) -> Finding:
    unknown = verdict.code is None
    return of_node(
        node,
        "warning" if unknown else "error",
        verdict.code or "operator-unknown",
        reason=verdict.reason or "",
        remedy="measure on the device whether it runs: "
        f"edgewright profile {file_of(facts)} --device DEVICE"
        if unknown
        else remedy_for(verdict, node.operator, table, facts),
        source=verdict.source,
        answer="unknown" if unknown else answer,
    )
