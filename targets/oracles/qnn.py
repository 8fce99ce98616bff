"""Asks ONNX Runtime's QNN execution provider which nodes it takes for a Hexagon NPU.

The package onnxruntime-qnn: its Linux wheel brings Qualcomm's HTP backend for x86-64,
which checks every operator and prepares the graph without the chip.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from ..facts import GraphFacts, ModelFacts
from ..graph_view import GraphView
from ..placement import Placement
from ..profile import Accelerator
from .asking import NodeKey, Spot, answered, ask, installed, options_of

_TIMEOUT_S = 120.0

#: What a profile can tell the provider: the generation of the NPU ('75'), which it has to, and
#: Qualcomm's number of the chip ('57').
OPTIONS = ("htp_arch", "soc_model")


def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
    """Which nodes the QNN execution provider takes, with its own reasons for the others.

    Raises:
        CannotSay: the provider is not installed or does not run on this machine, does not know the
            chip, or refused the model.
    """
    said_by = (
        f"ONNX Runtime {version('onnxruntime')} with QNN {installed('onnxruntime-qnn', 'qnn')}"
    )
    options = options_of(
        accelerator, OPTIONS, "QNN", lacking="which NPU it is asked about", such="75"
    )
    said = ask(
        "qnn:taken",
        str(path.resolve()),
        [len(graph.nodes) for graph in facts.graphs],
        options,
        timeout_s=_TIMEOUT_S,
        what=f"QNN with {path}",
    )
    taken, left = _keys(said["taken"]), _keys(said["left"])
    reasons = {(graph, index): reason for graph, index, reason in said["reasons"]}
    spots: dict[NodeKey, Spot] = {}
    for position, graph in enumerate(facts.graphs):
        for node in graph.nodes:
            key = (position, node.index)
            if key in left:
                reason = reasons.get(key, "QNN leaves it to the CPU")
                spots[graph.name, node.index] = ("cpu", reason)
            elif key in taken:
                spots[graph.name, node.index] = ("accelerator", None)
        spots.update(_constants(graph, spots))
    return answered(
        facts,
        "onnxruntime-qnn",
        f"{said_by} on this machine, for v{options[OPTIONS[0]]}",
        spots,
        partitions=said["partitions"],
        unsaid="ONNX Runtime removed it before it placed the nodes",
        notes=("the operators were checked without the chip: what it says at run time decides",),
    )


def _keys(pairs: list[list[int]]) -> set[tuple[int, int]]:
    return {(graph, index) for graph, index in pairs}


def _constants(graph: GraphFacts, spots: dict[NodeKey, Spot]) -> dict[NodeKey, Spot]:
    """Constants and what dequantizes them become weights of the first node that reads them."""
    found: dict[NodeKey, Spot] = {}
    readers = GraphView(graph).readers
    for node in graph.nodes:
        if (
            node.operator not in ("Constant", "DequantizeLinear")
            or (graph.name, node.index) in spots
        ):
            continue
        keys = ((graph.name, n.index) for out in node.outputs for n in readers.get(out, ()))
        placed = (spots[key] for key in keys if key in spots)
        if (spot := next(placed, None)) is not None:
            found[graph.name, node.index] = spot
    return found
