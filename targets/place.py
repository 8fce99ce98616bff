"""Where each node of a model runs, by the table of what a runtime or accelerator supports."""

from __future__ import annotations

from collections.abc import Mapping

from .facts import GraphFacts, ModelFacts, Node
from .graph_view import GraphView
from .judge import Verdict, judge
from .partition import limited, partitions
from .placement import NodePlacement, Place, Placement, placed
from .support_table import SupportTable

#: What a node is identified by: its graph's name, and its position in the file's graph.
NodeKey = tuple[str, int]


def judge_all(
    facts: ModelFacts, table: SupportTable, version: str | None
) -> dict[NodeKey, Verdict]:
    """What a table says of every node."""
    found: dict[NodeKey, Verdict] = {}
    for graph in facts.graphs:
        view = GraphView(graph)
        for node in graph.nodes:
            found[graph.name, node.index] = judge(node, view, table, version, facts.opsets)
    return found


def place(
    facts: ModelFacts,
    table: SupportTable,
    version: str | None,
    verdicts: Mapping[NodeKey, Verdict] | None = None,
) -> Placement:
    """Where the nodes run, as far as the table says.

    Of a runtime's table: on the CPU, nowhere, or unknown. Of an accelerator's: there, on the CPU,
    or unknown. What is unknown counts as unsupported when the graph is cut into pieces, so that a
    node is never called accelerated for want of knowledge.

    Args:
        version: of what the table is versioned by; None: the one that the table was read from.
        verdicts: what `judge_all` said, where that is known already.
    """
    verdicts = judge_all(facts, table, version) if verdicts is None else verdicts
    nodes: list[NodePlacement] = []
    pieces = 0
    for graph in facts.graphs:
        kept: frozenset[int] = frozenset()
        if table.role == "accelerator":
            able = [
                at
                for at, node in enumerate(graph.nodes)
                if verdicts[graph.name, node.index].answer == "yes"
            ]
            whole = partitions(graph, able)
            part = limited(whole, table.max_partitions, table.keeps == "largest")
            pieces += len(part)
            kept = frozenset(at for piece in part for at in piece)
        for at, node in enumerate(graph.nodes):
            verdict = verdicts[graph.name, node.index]
            nodes.append(_placed(graph, node, verdict, table, at in kept))
    assumed = "" if version in (None, table.tables_version) else f"; assumed here: {version}"
    judged_for = f"{table.versioned_by} {table.tables_version}{assumed}"
    return Placement(
        support=table.id,
        title=table.title,
        answer="tabled",
        said_by=f"{table.source} ({judged_for})",
        judged_for=judged_for,
        nodes=tuple(nodes),
        partitions=pieces if table.role == "accelerator" else None,
        notes=(f"last word on the device: {table.decided_by}",) if table.decided_by else (),
    )


def _placed(
    graph: GraphFacts, node: Node, verdict: Verdict, table: SupportTable, kept: bool
) -> NodePlacement:
    place: Place
    reason = verdict.reason
    if verdict.answer == "unknown":
        place = "unknown"
    elif table.role == "runtime":
        place = "cpu" if verdict.answer == "yes" else "nowhere"
    elif kept:
        place, reason = "accelerator", verdict.note
    else:
        place = "cpu"
        if verdict.answer == "yes":
            reason = _left_out(table)
    return placed(graph, node, place, reason)


def _left_out(table: SupportTable) -> str:
    pieces = "piece" if table.max_partitions == 1 else "pieces"
    many = "" if table.max_partitions == 1 else f" {table.max_partitions}"
    return f"the {table.title} takes the {table.keeps}{many} {pieces} of a model only"
