"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from .codes import Code
from .facts import ModelFacts, Node
from .need import Need
from .placement import Answer, NodePlacement, Placement
from .profile import Model

Severity = Literal["error", "warning", "info"]

#: How many names of nodes a finding gives.
MOST_NODES = 20


class Finding(Model):
    """One thing that stands between a model and a device.

    `error`: the model can't run there, or gives wrong results. `warning`: it runs, but slower,
    bigger or less exactly than it need. `info`: worth knowing.
    """

    severity: Severity
    code: Code = Field(description="`edgewright explain CODE` says more")
    operator: str | None = None
    nodes: tuple[str, ...] = Field(default=(), description="names in the graph, at most 20")
    count: int = 0
    reason: str
    remedy: str
    source: str | None = Field(default=None, description="where the rule comes from")
    answer: Answer = "tabled"


def of_node(
    node: Node | NodePlacement,
    severity: Severity,
    code: Code,
    *,
    reason: str,
    remedy: str,
    source: str | None = None,
    answer: Answer = "tabled",
) -> Finding:
    """A finding about one node; those alike are joined by `in_order`."""
    return Finding(
        severity=severity,
        code=code,
        operator=node.operator,
        nodes=(node.name,),
        count=1,
        reason=reason,
        remedy=remedy,
        source=source,
        answer=answer,
    )


class CheckResult(Model):
    """All findings, errors first. Compatible means that none of them is an error."""

    compatible: bool
    findings: tuple[Finding, ...]
    placements: tuple[Placement, ...] = ()
    needs: tuple[Need, ...] = ()

    @property
    def unknown(self) -> int:
        """How many findings say that nobody knows whether something runs."""
        return sum(f.severity == "warning" and f.answer == "unknown" for f in self.findings)


_ORDER = {"error": 0, "warning": 1, "info": 2}


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each (code, operator, reason), errors first."""
    groups: dict[tuple[str, str | None, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.operator, finding.reason), []).append(finding)
    merged = [_merged(group) for group in groups.values()]
    return tuple(sorted(merged, key=lambda finding: _ORDER[finding.severity]))


def with_nodes(finding: Finding, facts: ModelFacts) -> Finding:
    """The finding with the nodes' names, where it is about all nodes of one operator."""
    if finding.nodes or not finding.count or finding.operator is None:
        return finding
    nodes = (node for graph in facts.graphs for node in graph.nodes)
    names = [node.name for node in nodes if node.operator == finding.operator]
    if len(names) != finding.count:
        return finding
    return finding.model_copy(update={"nodes": tuple(filter(None, names))[:MOST_NODES]})


def _merged(group: Sequence[Finding]) -> Finding:
    nodes = [name for finding in group for name in finding.nodes if name]
    return min(group, key=lambda finding: _ORDER[finding.severity]).model_copy(
        update={
            "nodes": tuple(nodes[:MOST_NODES]),
            "count": sum(finding.count for finding in group),
        }
    )
