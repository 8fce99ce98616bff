"""Asks ONNX Runtime whether its CPU has a kernel for every node, and for which it has none."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from ..facts import ModelFacts
from ..placement import Placement
from ..profile import Accelerator
from . import Refused
from .asking import NodeKey, Spot, answered, ask

_TIMEOUT_S = 60.0


def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
    """Which nodes the CPU of this machine's ONNX Runtime has kernels for.

    A node that is refused is replaced by an input of the model, and the rest is asked again.

    Raises:
        Refused: ONNX Runtime refuses the model as a whole; in its own words.
    """
    types = [
        [[graph.tensors[i].dtype if i >= 0 else "" for i in node.outputs] for node in graph.nodes]
        for graph in facts.graphs
    ]
    said = ask(
        "onnxruntime:refused",
        str(path.resolve()),
        types,
        timeout_s=_TIMEOUT_S,
        what=f"ONNX Runtime with {path}",
    )
    refused = {(graph, index): reason for graph, index, reason in said["refused"]}
    if said["rest"] and not refused:
        raise Refused(f"ONNX Runtime can't load {path}: {said['rest']}")
    spots: dict[NodeKey, Spot] = {}
    for position, graph in enumerate(facts.graphs):
        for node in graph.nodes:
            if (reason := refused.get((position, node.index))) is not None:
                spots[graph.name, node.index] = ("nowhere", reason)
            elif not said["rest"]:
                spots[graph.name, node.index] = ("cpu", None)
    return answered(
        facts,
        "onnxruntime-cpu",
        f"ONNX Runtime {version('onnxruntime')} on this machine",
        spots,
        partitions=None,
        unsaid=f"ONNX Runtime did not come so far: {said['rest']}",
    )
