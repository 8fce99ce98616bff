"""ONNX Runtime with the QNN execution provider."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ....errors import UsageError
from .onnx_numbered import node_of, numbered, refusals, session, words
from .overhear import overheard, plain

_PROVIDER = "QNNExecutionProvider"

_REFUSAL = re.compile(
    r"Validation FAILED [^\n]*\n((?:\s*Operator type:[^\n]*\n)+)\s*REASON : ([^\n]*)"
)
_NAMED = re.compile(r"Node name: (\S+)")
#: The graph is prepared in any case, and need not be fast. Source: ONNX Runtime documentation, "QNN
#: Execution Provider" (1: faster preparation time, less optimal graph).
_PREPARED = {"htp_graph_finalization_optimization_mode": "1"}

_WARNED = re.compile(r"Invalid HTP architecture: \S+")


def taken(path: str, sizes: list[int], options: dict[str, str]) -> dict[str, Any]:
    """For the sandbox: the nodes (graph, index) that the provider takes, and those it leaves.

    Args:
        sizes: how many nodes each graph has.
        options: of the provider.

    Raises:
        UsageError: the provider can't be loaded here, does not know an option's value, or ONNX
            Runtime refused the model.
    """
    file = Path(path)
    model = numbered(file, sizes)
    placed, failure = None, None
    with overheard() as heard:
        try:
            placed = _placed(model, file, options)
        except refusals() as error:
            failure = words(error)
    log = heard[0]
    if warned := _WARNED.search(log):
        raise UsageError(f"QNN does not know the chip: {plain(warned[0])}")
    if placed is None:
        raise UsageError(f"QNN can't say where {path} runs: {failure}")
    reasons = {}
    for nodes, reason in _REFUSAL.findall(log):
        for name in _NAMED.findall(nodes):
            if (key := node_of(name)) is not None:
                reasons[key] = plain(reason)
    return {**placed, "reasons": [(*key, reason) for key, reason in reasons.items()]}


def _placed(model: Any, path: Path, options: dict[str, str]) -> dict[str, Any]:
    import onnxruntime
    import onnxruntime_qnn

    # Reasons are told at the level of verbose messages only.
    onnxruntime.set_default_logger_severity(0)
    onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == _PROVIDER]
    if not devices:
        raise UsageError(f"QNN shows no device on this machine ({sys.platform})")
    made = onnxruntime.SessionOptions()
    made.log_severity_level = 0
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    backend = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    made.add_provider_for_devices(devices, {**backend, **_PREPARED, **options})
    pieces = session(model, path, made).get_provider_graph_assignment_info()
    found: dict[str, Any] = {"taken": [], "left": [], "partitions": 0}
    for piece in pieces:
        on_npu = piece.ep_name == _PROVIDER
        found["partitions"] += on_npu
        keys = [node_of(node.name) for node in piece.get_nodes()]
        found["taken" if on_npu else "left"] += [key for key in keys if key is not None]
    return found
