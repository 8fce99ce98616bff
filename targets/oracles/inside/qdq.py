"""ONNX Runtime's optimized graph, and the QDQ operators in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from ...unfused import DQ, Q
from .. import CannotSay

#: Constants from this size on are written beside the optimized graph, which is then read.
_SMALL_BYTES = "1024"


def find_kept(path: str) -> dict[str, Any]:
    """For the sandbox: operator, name, output and neighbour of each that is kept.

    Raises:
        CannotSay: ONNX Runtime is not installed, or refuses the model.
    """
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
