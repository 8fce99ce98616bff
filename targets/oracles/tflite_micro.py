"""Asks the TFLite Micro interpreter which operators it lacks and how large an arena it needs.

The package tflite-micro: the interpreter itself, built for this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..facts import ModelFacts
from ..placement import Placement
from ..profile import Accelerator
from . import CannotSay
from .asking import NodeKey, Spot, answered, ask, installed

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class MicroArena:
    """What TFLite Micro takes for a model.

    Pointers of this machine are 64 bits wide: on a microcontroller of 32 bits the persistent part
    is smaller, so that this is an upper bound, for the kernels of this build; those of a vendor
    (CMSIS-NN) can want other scratch buffers.

    Attributes:
        total_bytes: the least arena with which the interpreter starts, within a 64th.
        head_bytes: of it, activations and scratch buffers, which share memory.
        tail_bytes: of it, what persists: structures of the interpreter and data of its kernels.
            While nodes are prepared they take some more, which is given back.
        said_by: program and version.
    """

    total_bytes: int
    head_bytes: int
    tail_bytes: int
    said_by: str


def arena(path: Path) -> MicroArena:
    """How large an arena a model takes.

    Raises:
        CannotSay: TFLite Micro is not installed, or can't run the model; in its own words.
    """
    said_by = _said_by()
    said = _said(path)
    if said["failure"]:
        raise CannotSay(f"TFLite Micro can't run {path}: {said['failure']}")
    return MicroArena(said["total"], said["head"], said["tail"], said_by)


def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
    """Whether TFLite Micro has a kernel for every node; it stops at the first that it lacks.

    Raises:
        CannotSay: TFLite Micro is not installed, or refused the model for another reason.
    """
    said_by = _said_by()
    said = _said(path)
    spots: dict[NodeKey, Spot]
    notes: tuple[str, ...] = ()
    if said["failure"]:
        spots = _lacking(facts, said)
        if not spots:
            raise CannotSay(f"TFLite Micro can't run {path}: {said['failure']}")
    else:
        spots = {
            (graph.name, n.index): ("cpu", None) for graph in facts.graphs for n in graph.nodes
        }
        notes = (
            f"it starts with an arena of {said['total']} bytes ({said['head']} head, "
            f"{said['tail']} tail) where pointers have 64 bits, as here; fewer with 32",
        )
    return answered(
        facts,
        "tflite-micro",
        said_by,
        spots,
        partitions=None,
        unsaid="TFLite Micro stopped at a node that it can't run",
        notes=notes,
    )


def _lacking(facts: ModelFacts, said: dict[str, Any]) -> dict[NodeKey, Spot]:
    """The nodes that a refusal is about, where it says so."""
    nodes = [(graph.name, node) for graph in facts.graphs for node in graph.nodes]
    custom = {node.operator for _, node in nodes if "::" in node.operator}
    names = set(said["missing"])
    if "CUSTOM" in names and len(custom) == 1:
        names |= custom
    found: dict[NodeKey, Spot] = {
        (graph, node.index): ("nowhere", "TFLite Micro has no kernel for it")
        for graph, node in nodes
        if node.operator in names
    }
    for reason, operator, index in said["refused"]:
        # The graph is not told: only a node that is the only one of its kind is sure to be meant.
        meant = [
            (graph, node.index)
            for graph, node in nodes
            if (node.operator, node.index) == (operator, int(index))
        ]
        if len(meant) == 1:
            found[meant[0]] = ("nowhere", reason)
    return found


def _said_by() -> str:
    return f"TFLite Micro {installed('tflite-micro', 'tflite-micro')} on this machine"


def _said(path: Path) -> Any:
    return ask(
        "tflite_micro:allocated",
        str(path.resolve()),
        timeout_s=_TIMEOUT_S,
        what=f"TFLite Micro with {path}",
    )
