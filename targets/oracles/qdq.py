"""Asks ONNX Runtime which QDQ operators are left in the graph that it would run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..facts import ModelFacts, UnfusedPair
from ..unfused import DQ, Q
from .asking import ask

_TIMEOUT_S = 120.0
#: What ONNX Runtime appends to the name of a DequantizeLinear that it made one of for each reader.
_COPY = "/duplicated"


@dataclass(frozen=True)
class KeptQdq:
    """The answer, and who gave it."""

    pairs: tuple[UnfusedPair, ...]
    said_by: str


def kept_qdq(path: Path, facts: ModelFacts) -> KeptQdq:
    """QDQ operators that ONNX Runtime's CPU provider keeps on this machine, at its default level.

    Those that bring the model's inputs to integers and its outputs back to reals are left out. It
    can depend on the processor: x86 has other kernels for INT8 activations than ARM.

    Raises:
        CannotSay: ONNX Runtime is not installed, or refuses the model.
    """
    found = ask("qdq:find_kept", str(path), timeout_s=_TIMEOUT_S, what=f"loading {path.name}")
    known = {pair.node: pair.reason for pair in facts.unfused}
    names = {n.name for graph in facts.graphs for n in graph.nodes if n.operator in (Q, DQ)}
    pairs: dict[str, UnfusedPair] = {}
    for operator, name, output, neighbour in found["kept"]:
        original = name.partition(_COPY)[0]
        node = next((n for n in (name, output, original) if n in names), name)
        reason = known.get(node) or _reason(operator, neighbour, node in names)
        pairs.setdefault(node, UnfusedPair(node, operator, reason, asked=True))
    return KeptQdq(tuple(pairs.values()), f"ONNX Runtime {found['version']}")


def _reason(operator: str, neighbour: str, is_in_file: bool) -> str:
    where = "" if is_in_file else "put there by the runtime: "
    if operator == DQ:
        return f"{where}{neighbour} reads it in floating point"
    return f"{where}{neighbour} before it computes in floating point"
