"""Asks Arm's compiler for Ethos-U which operators it puts on the NPU, and why not the others.

The package ethos-u-vela: the model is compiled for real, into a temporary folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..facts import GraphFacts, ModelFacts, Node
from ..placement import Placement
from ..profile import Accelerator
from . import CannotSay
from .asking import NodeKey, Spot, answered, ask, installed, options_of

_TIMEOUT_S = 120.0

#: What a profile can tell the compiler: options of its command line, with '_' for '-'. The first
#: is needed.
OPTIONS = ("accelerator_config", "system_config", "memory_mode", "optimise", "arena_cache_size")


def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
    """Where Vela puts each node, with its reasons and its estimates.

    Raises:
        CannotSay: Vela is not installed, the profile does not say what to compile for, or the
            model did not compile.
    """
    version = installed("ethos-u-vela", "ethos-u")
    if facts.format != "tflite":
        raise CannotSay("Vela reads TFLite files")
    options = options_of(
        accelerator, OPTIONS, "Vela", lacking="which Ethos-U to compile for", such="ethos-u55-128"
    )
    said = ask(
        "vela:compiled",
        str(path.resolve()),
        options,
        timeout_s=_TIMEOUT_S,
        what=f"compiling {path} with Vela",
    )
    return answered(
        facts,
        options[OPTIONS[0]].rpartition("-")[0],
        f"Vela {version} on this machine, for {options[OPTIONS[0]]}",
        _spots(facts, said),
        partitions=said["pieces"],
        unsaid="nodes of the same name are on the NPU and on the CPU",
        notes=_notes(said["summary"]),
    )


def _spots(facts: ModelFacts, said: dict[str, Any]) -> dict[NodeKey, Spot]:
    """What is left of the file's nodes in the compiled file stays on the CPU."""
    left = Counter(map(_key, said["left"]))
    reasons = {(operator, ofm): reason for operator, ofm, reason in said["reasons"]}
    nodes = [
        (graph, node, _key(_names(graph, node))) for graph in facts.graphs for node in graph.nodes
    ]
    counts = Counter(key for *_, key in nodes)
    spots: dict[NodeKey, Spot] = {}
    for graph, node, key in nodes:
        if not left[key]:
            spots[graph.name, node.index] = ("accelerator", None)
        elif left[key] == counts[key]:
            spots[graph.name, node.index] = ("cpu", _reason(node, key[1], reasons))
    return spots


def _reason(node: Node, outputs: str, reasons: dict[tuple[str, str], str]) -> str:
    operator = "CUSTOM" if "::" in node.operator else node.operator
    first = outputs.split("\0")[0]
    # An activation that the file fuses is an operator of its own to Vela, and is refused for both.
    fused = next((r for (_, ofm), r in reasons.items() if ofm in (first, f"{first}_act")), None)
    return reasons.get((operator, first)) or fused or "Vela leaves it to the CPU"


def _names(graph: GraphFacts, node: Node) -> tuple[str, list[str], list[str]]:
    def names(tensors: Iterable[int]) -> list[str]:
        return [graph.tensors[index].name for index in tensors if index >= 0]

    return node.operator, names(node.outputs), names(node.inputs)


def _key(names: Any) -> tuple[str, str]:
    """An operator with its outputs' names; of one without outputs, its inputs'."""
    operator, outputs, inputs = names
    return operator, "\0".join(outputs or inputs)


def _notes(summary: dict[str, str]) -> tuple[str, ...]:
    cycles, seconds = float(summary["cycles_total"]), float(summary["inference_time"])
    if not cycles:
        return ()
    sram = float(summary["sram_memory_used"])
    return (
        f"Vela estimates {cycles:.0f} cycles, {1e3 * seconds:.3g} ms at "
        f"{float(summary['core_clock']) / 1e6:.0f} MHz, and {sram:.0f} KiB of SRAM, with "
        f"{summary['system_config']} and {summary['memory_mode']}: not measured",
    )
