"""Asks LiteRT which nodes its default delegate, XNNPACK, takes."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..facts import GraphFacts, ModelFacts
from ..placement import Placement
from ..profile import Accelerator
from . import CannotSay
from .asking import NodeKey, Spot, answered, ask

_TIMEOUT_S = 60.0
_XNNPACK = "TfLiteXNNPackDelegate"

_UNRESOLVED = re.compile(r"unresolved custom op: (.+?)\.(?:\s|$)")
_FAILED = re.compile(r"Node number (\d+) \((.+?)\) failed to prepare")


def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
    """Which nodes the XNNPACK delegate of this machine's LiteRT takes, in every graph.

    The delegate looks at the model, hardly at the CPU: it takes the same nodes on ARM.

    Raises:
        CannotSay: LiteRT can't load the model, or does not show its graphs.
    """
    said = ask(
        "xnnpack:delegated", str(path.resolve()), timeout_s=_TIMEOUT_S, what=f"LiteRT with {path}"
    )
    graphs = _matched(facts, said["graphs"])
    spots: dict[NodeKey, Spot] = {}
    partitions = 0
    for graph, shown in graphs:
        pieces = [nodes for name, nodes in shown["pieces"] if name == _XNNPACK]
        partitions += len(pieces)
        taken = {index for nodes in pieces for index in nodes}
        for node in graph.nodes:
            spots[graph.name, node.index] = (
                ("accelerator", None)
                if node.index in taken
                else ("cpu", "XNNPACK leaves it to the kernels of LiteRT")
            )
    notes: tuple[str, ...] = ()
    if said["failure"]:
        notes = (f"LiteRT can't run the model here: {said['failure']}",)
        spots.update(_lacking(facts, said["failure"]))
    return answered(
        facts,
        "xnnpack",
        f"LiteRT {version('ai-edge-litert')} on this machine",
        spots,
        partitions=partitions if len(graphs) == len(facts.graphs) else None,
        unsaid="LiteRT shows its delegates another graph than the file's",
        notes=notes,
    )


def _matched(facts: ModelFacts, shown: list[Any]) -> list[tuple[GraphFacts, Any]]:
    """The file's graphs with what LiteRT showed of them; told by the nodes' outputs.

    Graphs that are alike node by node are shown in the file's order.

    Raises:
        CannotSay: not even one was found.
    """
    rest = list(shown)
    found = []
    for graph in facts.graphs:
        outputs = [list(node.outputs) for node in graph.nodes]
        match = next((each for each in rest if each["outputs"] == outputs), None)
        if match is not None:
            rest.remove(match)
            found.append((graph, match))
    if not found:
        raise CannotSay("LiteRT shows its delegates other graphs than the file's")
    return found


def _lacking(facts: ModelFacts, failure: str) -> dict[NodeKey, Spot]:
    """The nodes that LiteRT says it has no kernel for."""
    names = set(_UNRESOLVED.findall(failure))
    failed = {(int(index), name) for index, name in _FAILED.findall(failure)}
    found: dict[NodeKey, Spot] = {}
    for graph in facts.graphs:
        for node in graph.nodes:
            plain_name = node.operator.rpartition("::")[2]
            flex = node.operator.startswith("flex::")
            asked = (node.index, f"Flex{plain_name}" if flex else plain_name)
            if plain_name in names or (flex and "Select TensorFlow op" in failure):
                found[graph.name, node.index] = ("nowhere", "LiteRT has no kernel for it")
            elif graph is facts.graphs[0] and asked in failed:
                found[graph.name, node.index] = ("nowhere", failure)
    return found
