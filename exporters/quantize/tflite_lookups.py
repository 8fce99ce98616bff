"""GATHER from a constant table as EMBEDDING_LOOKUP, whose kernel takes quantized tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .tflite_model import (
    add_constant,
    add_tensor,
    constant,
    input_tensor,
    name_of,
    operator_of,
)


def as_lookup(model: Any, graph: Any, node: Any) -> str:
    """Makes a GATHER of rows from a constant matrix a lookup where that is possible.

    Lookups take int32 indices of one dimension: for others the node gets a RESHAPE on both sides.

    Returns:
        The node's operator now.
    """
    from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType
    from litert_quantizer.transformations.transformation_utils import add_op_code

    table, indices = input_tensor(graph, node, 0), input_tensor(graph, node, 1)
    result = graph.tensors[node.outputs[0]]
    options = node.builtinOptions
    rows = constant(model, table)
    plain = options is None or (options.axis == 0 and options.batchDims == 0)
    if rows is None or rows.ndim != 2 or indices is None or not plain:
        return operator_of(model, node)
    is_open = any(
        -1 in (each.shapeSignature if each.shapeSignature is not None else [])
        for each in (indices, result)
    )
    if indices.type != TensorType.INT32 or len(indices.shape) < 1 or is_open:
        return operator_of(model, node)
    lookup = add_op_code(BuiltinOperator.EMBEDDING_LOOKUP, model.operatorCodes)
    node.opcodeIndex, node.builtinOptions, node.builtinOptionsType = lookup, None, 0
    table_index, ids_index = node.inputs[0], node.inputs[1]
    node.inputs = [ids_index, table_index]
    if len(indices.shape) == 1:
        return "EMBEDDING_LOOKUP"
    count = math.prod(int(size) for size in indices.shape)
    position = next(i for i, each in enumerate(graph.operators) if each is node)
    stem = name_of(result)
    flat = add_tensor(graph, f"{stem}/indices", [count], indices.type)
    looked = add_tensor(graph, f"{stem}/rows", [count, rows.shape[1]], result.type)
    before = _reshape(model, graph, ids_index, flat, [count])
    after = _reshape(model, graph, looked, node.outputs[0], [int(size) for size in result.shape])
    node.inputs, node.outputs = [flat, table_index], [looked]
    graph.operators[position : position + 1] = [before, node, after]
    return "EMBEDDING_LOOKUP"


def _reshape(model: Any, graph: Any, source: int, result: int, shape: list[int]) -> Any:
    from ai_edge_litert.schema_py_generated import BuiltinOperator, OperatorT
    from litert_quantizer.transformations.transformation_utils import add_op_code

    node = OperatorT()
    node.opcodeIndex = add_op_code(BuiltinOperator.RESHAPE, model.operatorCodes)
    name = f"{name_of(graph.tensors[result])}/shape"
    wanted = add_constant(model, graph, name, np.array(shape, dtype=np.int32))
    node.inputs, node.outputs = [source, wanted], [result]
    return node
