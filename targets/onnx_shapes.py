"""Shapes and types of all tensors of an ONNX model, by ONNX's own shape inference.

Open first dimensions of inputs count as a batch of 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .dtypes import tensor_bytes
from .onnx_file import dtype_name, graphs_of
from .onnx_order import sort_nodes

#: Constants up to this size can be shapes, which inference reads; weights are left out of it.
_SHAPE_BYTES = 1024


def without_weights(model: Any) -> Any:
    """A copy of the model in which weights have names, types and shapes, and no values.

    Calls of the model's own functions are replaced by what they do, and nodes are put in order.

    Raises:
        ValueError: nodes wait for each other.
    """
    from onnx import ModelProto, inliner

    bare = ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            _copy_graph(value, bare.graph)
        elif field.name in ("opset_import", "functions"):
            getattr(bare, field.name).extend(value)
        elif field.name == "ir_version":
            bare.ir_version = value
    if bare.functions:
        bare = inliner.inline_local_functions(bare)
    sort_nodes(bare.graph)
    return bare


def _copy_graph(graph: Any, bare: Any) -> None:
    from onnx import TensorProto

    for field, value in graph.ListFields():
        if field.name in ("node", "input", "output", "value_info", "sparse_initializer"):
            getattr(bare, field.name).extend(value)
    bare.name = graph.name
    for tensor in graph.initializer:
        size = tensor_bytes(dtype_name(tensor.data_type), tensor.dims)
        is_small = size is not None and size <= _SHAPE_BYTES
        if is_small and tensor.data_location != TensorProto.EXTERNAL:
            bare.initializer.append(tensor)
        else:
            bare.initializer.append(
                TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            )


def infer_shapes(bare: Any, *, batch_of_one: bool) -> Any:
    """A copy of a model without weights, with all shapes that could be inferred.

    Contrib operators become standard ones of the same shape, as ONNX knows nothing of them; names
    of tensors stay.

    Raises:
        ValueError: the graph contradicts itself.
    """
    from onnx import ModelProto, shape_inference

    model = ModelProto()
    model.CopyFrom(bare)
    if batch_of_one:
        _set_batch_to_one(model.graph)
    for node in list(model.graph.node):
        if node.domain == "com.microsoft" and node.op_type in _STANDARD:
            _STANDARD[node.op_type](model.graph, node)
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ValueError(str(error)) from error


def without_declared_shapes(bare: Any) -> Any:
    """A copy of a model without weights that says only of inputs and constants what they are."""
    from onnx import ModelProto

    model = ModelProto()
    model.CopyFrom(bare)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
        for node in graph.node:
            graphs += graphs_of(node)
    return model


def has_open_shapes(graph: Any) -> bool:
    """Whether an input has a dimension that is known at run time only."""
    return any(
        not dim.HasField("dim_value")
        for value in graph.input
        for dim in value.type.tensor_type.shape.dim
    )


def _set_batch_to_one(graph: Any) -> None:
    """Sets open first dimensions to 1, and the symbols that name them wherever they stand."""
    constants = {tensor.name for tensor in graph.initializer}
    shapes = [
        value.type.tensor_type.shape.dim for value in graph.input if value.name not in constants
    ]
    elsewhere = Counter(dim.dim_param for shape in shapes for dim in shape[1:])
    batch = {
        shape[0].dim_param
        for shape in shapes
        if len(shape) > 1 and not elsewhere[shape[0].dim_param]
    } - {""}
    for shape in shapes:
        if len(shape) > 1 and not shape[0].HasField("dim_value") and not shape[0].dim_param:
            shape[0].dim_value = 1
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in batch:
                dim.dim_value = 1


def _rewrite(
    node: Any, operator: str, inputs: list[str] | None = None, keep: tuple[str, ...] | None = None
) -> None:
    """Makes the node a standard one; `keep` names the attributes that stay (None: all)."""
    node.domain = ""
    node.op_type = operator
    if inputs is not None:
        node.input[:] = inputs
    if keep is not None:
        kept = [attribute for attribute in node.attribute if attribute.name in keep]
        del node.attribute[:]
        node.attribute.extend(kept)


def _standard(
    operator: str, operands: tuple[int, ...] | None = None, keep: tuple[str, ...] | None = None
) -> Callable[[Any, Any], None]:
    """A rule: the standard operator, which of the inputs it reads, which attributes it keeps."""

    def rule(graph: Any, node: Any) -> None:
        if operands is not None and max(operands) >= len(node.input):
            return
        inputs = None if operands is None else [node.input[position] for position in operands]
        _rewrite(node, operator, inputs, keep)
        if operands is not None:
            del node.output[1:]

    return rule


def _fused_matmul(graph: Any, node: Any) -> None:
    if not any(a.name.startswith("trans") and a.i for a in node.attribute):
        _rewrite(node, "MatMul", None, ())


def _matmul_n_bits(graph: Any, node: Any) -> None:
    """Weights are packed: the matrix product is with one of shape [K, N] (ContribOperators.md)."""
    from onnx import helper

    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    if "K" not in sizes or "N" not in sizes or not node.input:
        return
    name = f"{node.output[0]}::weights"
    element_type = _element_type(graph, node.input[0])
    graph.input.append(helper.make_tensor_value_info(name, element_type, [sizes["K"], sizes["N"]]))
    _rewrite(node, "MatMul", [node.input[0], name], ())


def _element_type(graph: Any, name: str) -> int:
    from onnx import TensorProto

    for value in (*graph.input, *graph.value_info):
        if value.name == name:
            return int(value.type.tensor_type.elem_type)
    return int(TensorProto.FLOAT)


def _global_pool(graph: Any, node: Any) -> None:
    if not any(a.name == "channels_last" and a.i for a in node.attribute):
        _rewrite(node, "GlobalAveragePool", [node.input[0]], ())


def _concat(graph: Any, node: Any) -> None:
    """Inputs are the output's scale and zero point, then tensor, scale, zero point of each."""
    _rewrite(node, "Concat", list(node.input[2::3]), ("axis",))


_LIKE_FIRST_INPUT = _standard("Identity", (0,), ())

#: What stands in for each contrib operator of ONNX Runtime (docs/ContribOperators.md).
_STANDARD: dict[str, Callable[[Any, Any], None]] = {
    "QuantizeLinear": _standard("QuantizeLinear"),
    "DequantizeLinear": _standard("DequantizeLinear"),
    "MatMulNBits": _matmul_n_bits,
    "DynamicQuantizeMatMul": _standard("MatMul", (0, 1), ()),
    "MatMulIntegerToFloat": _standard("MatMul", (0, 1), ()),
    "FusedMatMul": _fused_matmul,
    "QGemm": _standard("Gemm", (0, 3), ("transA", "transB")),
    "QLinearAdd": _standard("Add", (0, 3), ()),
    "QLinearMul": _standard("Mul", (0, 3), ()),
    "QLinearAveragePool": _standard(
        "AveragePool", (0,), ("kernel_shape", "pads", "strides", "auto_pad", "ceil_mode")
    ),
    "QLinearGlobalAveragePool": _global_pool,
    "QLinearConcat": _concat,
    "QLinearSigmoid": _LIKE_FIRST_INPUT,
    "QLinearLeakyRelu": _LIKE_FIRST_INPUT,
    "QLinearSoftmax": _LIKE_FIRST_INPUT,
    "FusedConv": _standard(
        "Conv", (0, 1), ("kernel_shape", "pads", "strides", "auto_pad", "dilations", "group")
    ),
    "Gelu": _LIKE_FIRST_INPUT,
    "FastGelu": _LIKE_FIRST_INPUT,
    "BiasGelu": _LIKE_FIRST_INPUT,
    "QuickGelu": _LIKE_FIRST_INPUT,
    "SkipLayerNormalization": _LIKE_FIRST_INPUT,
    "SkipSimplifiedLayerNormalization": _LIKE_FIRST_INPUT,
    "RotaryEmbedding": _LIKE_FIRST_INPUT,
}
