"""What every oracle shares: how it is asked, and how its answer is told."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ..facts import ModelFacts
from ..placement import Place, Placement, placed
from ..profile import Accelerator
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


def options_of(
    accelerator: Accelerator | None,
    known: tuple[str, ...],
    program: str,
    *,
    lacking: str,
    such: str,
) -> dict[str, str]:
    """What a profile tells a compiler of the device.

    Args:
        known: the options that it is told; the first is needed.
        program: what the compiler is called.
        lacking: what it has to know, in words, where the first is absent.
        such: a value that the first can have.

    Raises:
        CannotSay: the first is absent, or another is not known.
    """
    options = accelerator.compiler_options if accelerator is not None else {}
    if known[0] not in options:
        raise CannotSay(
            f"{program} has to know {lacking}",
            hint=f"in the profile: compiler_options.{known[0]}, e.g. '{such}'",
        )
    if foreign := sorted(set(options) - set(known)):
        raise CannotSay(
            f"{program} is not told '{foreign[0]}'",
            hint=f"compiler_options are {', '.join(known)}",
        )
    return options


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
            nodes.append(placed(graph, node, place, reason))
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
