"""Asks ONNX Runtime which QDQ operators are left in the graph that it would run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from .. import sandbox
from ..facts import ModelFacts, UnfusedPair
from ..unfused import DQ, Q
from . import CannotSay

_TIMEOUT_S = 120.0
#: Constants from this size on are written beside the optimized graph, which is then read.
_SMALL_BYTES = "1024"
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
    try:
        found = sandbox.call(
            f"{__name__}:find_kept", str(path), timeout_s=_TIMEOUT_S, what=f"loading {path.name}"
        )
    except UsageError as error:
        raise CannotSay(error.message) from error
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


def find_kept(path: str) -> dict[str, Any]:
    """Operator, name, output and neighbour of each that is kept; runs in the sandbox."""
    try:
        import onnxruntime
    except ImportError as error:
        raise CannotSay(f"ONNX Runtime is not installed ({error})") from error
    import onnx

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        for name, value in (("file_name", "weights"), ("min_size_in_bytes", _SMALL_BYTES)):
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{name}", value
            )
        try:
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The runtime's errors have no base of their own.
            raise CannotSay(f"ONNX Runtime refuses it: {error}") from error
        model = onnx.load(options.optimized_model_filepath, load_external_data=False)
    return {"version": onnxruntime.__version__, "kept": list(_kept(model.graph))}


def _kept(graph: Any) -> Iterator[tuple[str, str, str, str]]:
    readers: dict[str, str] = {}
    producers: dict[str, str] = {}
    for node in graph.node:
        readers.update(dict.fromkeys(node.input, node.op_type))
        producers.update(dict.fromkeys(node.output, node.op_type))
    for node in graph.node:
        neighbour = None
        if node.op_type == DQ:
            neighbour = readers.get(node.output[0])
        elif node.op_type == Q:
            neighbour = producers.get(node.input[0])
        if neighbour is not None:
            yield node.op_type, node.name, node.output[0], neighbour
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _kept(inner)
