"""Putting an ONNX graph into the shape that quantization needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx


def load(path: Path) -> onnx.ModelProto:
    """A model with every node named, so that rules and exclusions can name it."""
    model = onnx.load(str(path))
    _name_nodes(model)
    return model


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds constants and batch normalization, as ONNX Runtime's basic optimizations do.

    Static quantization wants this first, or every batch normalization would be quantized apart
    (ONNX Runtime documentation, "Quantize ONNX models: pre-processing").
    """
    import tempfile

    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "fused.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        fused = onnx.load(str(path))
    _name_nodes(fused)
    return onnx.shape_inference.infer_shapes(fused)


def split_gemm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gemm with constant weights -> MatMul + Add.

    ONNX Runtime's dynamic and MatMulNBits quantizers take MatMul only; a Gemm they pass over in
    silence. Gemms with alpha or beta other than 1, or a transposed first input, stay.
    """
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    nodes = []
    for node in result.graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        splits = (
            node.op_type == "Gemm"
            and node.input[1] in constants
            and options.get("alpha", 1.0) == 1.0
            and options.get("beta", 1.0) == 1.0
            and not options.get("transA", 0)
        )
        if not splits:
            nodes.append(node)
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        name = node.input[1]
        if options.get("transB", 0):
            name = f"{node.input[1]}_transposed"
            if name not in constants:
                constants[name] = numpy_helper.from_array(weights.T.copy(), name)
                result.graph.initializer.append(constants[name])
        has_bias = len(node.input) > 2 and node.input[2]
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if has_bias:
            nodes.append(
                helper.make_node(
                    "Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_bias"
                )
            )
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    _drop_unused_constants(result)
    return result


def activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that gives every float activation as an output."""
    tapped = onnx.shape_inference.infer_shapes(model)
    have = {output.name for output in tapped.graph.output}
    # ONNX Runtime leaves the types of constants, and of values that it folded away, behind.
    computed = {name for node in tapped.graph.node for name in node.output}
    for value in tapped.graph.value_info:
        if value.name in computed - have and _is_float(value):
            tapped.graph.output.append(value)
    return tapped


def _is_float(value: Any) -> bool:
    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _name_nodes(model: onnx.ModelProto) -> None:
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def _drop_unused_constants(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    used |= {output.name for output in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
