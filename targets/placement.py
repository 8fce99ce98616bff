"""Where each node of a model runs on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from .facts import GraphFacts, Node
from .profile import Model

#: Where an answer comes from. `asked`: the runtime or compiler itself said so, on this machine.
#: `tabled`: a published or measured table says so. `unknown`: nobody says, which is never a yes.
Answer = Literal["asked", "tabled", "unknown"]

#: `accelerator` or `cpu`: it runs there. `nowhere`: the runtime has no kernel for it.
Place = Literal["accelerator", "cpu", "nowhere", "unknown"]


class NodePlacement(Model):
    """One node, and why it does not run on the accelerator (or not at all)."""

    graph: str
    index: int
    operator: str
    name: str
    macs: int | None
    place: Place
    reason: str | None = None


def placed(graph: GraphFacts, node: Node, place: Place, reason: str | None) -> NodePlacement:
    """A node of a model's facts in its place."""
    return NodePlacement(
        graph=graph.name,
        index=node.index,
        operator=node.operator,
        name=node.name,
        macs=node.macs,
        place=place,
        reason=reason,
    )


class Placement(Model):
    """Where a model's nodes run with one accelerator (or, without any, in the runtime alone)."""

    support: str = Field(description="the support table that was used, e.g. 'litert-gpu'")
    title: str
    answer: Answer
    said_by: str = Field(description="program and version that was asked, or the table's source")
    judged_for: str | None = Field(
        default=None, description="the version that a table was read for, e.g. 'TensorFlow 2.5'"
    )
    nodes: tuple[NodePlacement, ...]
    partitions: int | None = Field(description="pieces on the accelerator; None if unknown")
    notes: tuple[str, ...] = Field(
        default=(), description="what else was said, e.g. a compiler's estimates"
    )

    def macs(self, place: Place) -> int:
        """Multiply-accumulates of the nodes there, as far as known."""
        return sum(node.macs or 0 for node in self.nodes if node.place == place)

    def count(self, place: Place) -> int:
        return sum(node.place == place for node in self.nodes)

    def share(self, nodes: Sequence[NodePlacement]) -> float | None:
        """Their part of all multiply-accumulates, at most; of the nodes, where there is no work.

        None where the work of one of them is unknown.
        """
        if any(node.macs is None for node in nodes):
            return None
        if total := sum(node.macs or 0 for node in self.nodes):
            return sum(node.macs or 0 for node in nodes) / total
        if any(node.macs is None for node in self.nodes):
            return 0.0  # the work is elsewhere, and unknown
        return len(nodes) / len(self.nodes) if self.nodes else 0.0
