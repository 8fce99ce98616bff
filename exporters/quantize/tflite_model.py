"""A TFLite file as the objects of its schema, to be read and changed.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, as generated in `ai_edge_litert`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Places among the inputs of convolutions, matrix products and embedding lookups.
WEIGHTS, BIAS = 1, 2


def read_model(path: Path) -> Any:
    """The file as a `ModelT`; constants are views of the mapped file."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    # litert-quantizer takes it for granted that there is a list.
    model.signatureDefs = model.signatureDefs or []
    for code in model.operatorCodes:
        # Codes above 127 don't fit the old field, old files lack the new one; the larger counts
        # (schema_utils.cc).
        code.builtinCode = flatbuffer_utils.get_builtin_code_from_operator_code(code)
    return model


def serialized(model: Any) -> bytearray:
    """The model as the bytes of a file."""
    from ai_edge_litert.tools import flatbuffer_utils

    written: bytearray = flatbuffer_utils.convert_object_to_bytearray(model)
    return written


def operator_of(model: Any, node: Any) -> str:
    """The schema's name of a node's operator."""
    code = model.operatorCodes[node.opcodeIndex].builtinCode
    return operator_names().get(code, f"BUILTIN_{code}")


@cache
def operator_names() -> dict[int, str]:
    """The operators of the schema by their code."""
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}


def name_of(tensor: Any) -> str:
    """The tensor's name."""
    return bytes(tensor.name or b"").decode("utf-8", errors="replace")


def node_name(graph: Any, node: Any) -> str:
    """What recipes know a node by: the name of its first output; empty where it has none."""
    return name_of(graph.tensors[node.outputs[0]]) if len(node.outputs) else ""


def is_float(tensor: Any) -> bool:
    """Whether the tensor holds float32."""
    from ai_edge_litert import schema_py_generated as schema

    return bool(tensor.type == schema.TensorType.FLOAT32)


def input_tensor(graph: Any, node: Any, place: int) -> Any | None:
    """The tensor at a place of a node's inputs; None where it is left out."""
    if place >= len(node.inputs) or node.inputs[place] < 0:
        return None
    return graph.tensors[node.inputs[place]]


def constant(model: Any, tensor: Any | None) -> npt.NDArray[np.float32] | None:
    """The values of a dense float32 constant; None if the tensor is something else."""
    if tensor is None or not is_float(tensor) or tensor.sparsity is not None:
        return None
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    return np.frombuffer(data, dtype=np.float32).reshape([int(size) for size in tensor.shape])


def readers(model: Any) -> dict[int, int]:
    """How many inputs of nodes read each buffer."""
    counts: dict[int, int] = {}
    for graph in model.subgraphs:
        for node in graph.operators:
            for index in node.inputs:
                if index >= 0:
                    buffer = graph.tensors[index].buffer
                    counts[buffer] = counts.get(buffer, 0) + 1
    return counts


def add_constant(
    model: Any, graph: Any, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int32]
) -> int:
    """A new tensor with a buffer of its own; returns its index."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    buffer.offset = buffer.size = 0
    model.buffers.append(buffer)
    types = schema.TensorType
    kind = types.INT32 if values.dtype == np.int32 else types.FLOAT32
    return add_tensor(graph, name, list(values.shape), kind, len(model.buffers) - 1)


def add_tensor(graph: Any, name: str, shape: list[int], kind: int, buffer: int = 0) -> int:
    """A new tensor, of an activation unless there is a buffer; returns its index."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name = name.encode()
    tensor.shape, tensor.type, tensor.buffer = shape, kind, buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def give_own_constant(
    model: Any, graph: Any, node: Any, place: int, values: npt.NDArray[np.float32]
) -> int:
    """Makes a node read a constant that nothing else reads; returns its tensor's index.

    It is named after the constant that stood there, or the node where none did.
    """
    before = input_tensor(graph, node, place)
    stem = node_name(graph, node) + "/bias" if before is None else name_of(before)
    index = add_constant(model, graph, f"{stem}/{len(graph.tensors)}", values)
    node.inputs = list(node.inputs) + [-1] * (place + 1 - len(node.inputs))
    node.inputs[place] = index
    return index
