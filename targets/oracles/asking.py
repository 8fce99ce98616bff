"""What every oracle shares: how it is asked, and how its answer is told."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ..facts import ModelFacts
from ..placement import NodePlacement, Place, Placement
from ..sandbox import call
from ..support_files import support_table
from . import CannotSay

#: A node: the name of its graph, and its index there.
NodeKey = tuple[str, int]

#: Where a node runs, and why, if there is something to say.
Spot = tuple[Place, str | None]


def installed(distribution: str, extra: str) -> str:
    """The version of an optional package.

    Raises:
        CannotSay: it is not installed; the hint says how to get it.
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise CannotSay(
            f"{distribution} is not installed", hint=f"pip install 'edgewright[{extra}]'"
        ) from None


def ask(function: str, *arguments: Any, timeout_s: float, what: str) -> Any:
    """The result of a function, run in the sandbox.

    Args:
        function: 'module:function', of the package `inside`.

    Raises:
        CannotSay: it refused, crashed, or took too long; in its own words.
    """
    try:
        return call(f"{__package__}.inside.{function}", *arguments, timeout_s=timeout_s, what=what)
    except UsageError as error:
        raise CannotSay(error.message, hint=error.hint) from error


def answered(
    facts: ModelFacts,
    support: str,
    said_by: str,
    spots: Mapping[NodeKey, Spot],
    *,
    partitions: int | None,
    unsaid: str,
    notes: tuple[str, ...] = (),
) -> Placement:
    """The placement of every node of a model.

    Args:
        support: the id of the support table that the answer stands for.
        spots: what was said, node by node.
        unsaid: why nothing was said of the rest, which is unknown.
    """
    nodes = []
    for graph in facts.graphs:
        for node in graph.nodes:
            place, reason = spots.get((graph.name, node.index), ("unknown", unsaid))
            nodes.append(
                NodePlacement(
                    graph=graph.name,
                    index=node.index,
                    operator=node.operator,
                    name=node.name,
                    macs=node.macs,
                    place=place,
                    reason=reason,
                )
            )
    table = support_table(support)
    return Placement(
        support=support,
        title=table.title if table is not None else support,
        answer="asked",
        said_by=said_by,
        nodes=tuple(nodes),
        partitions=partitions,
        notes=notes,
    )
