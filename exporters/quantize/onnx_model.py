"""The one shape of an ONNX graph that layers, calibration and quantization all see."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .onnx_graph import Graph, Node, options

#: Turns MatMul + Add into Gemm, and puts Reshape around it where the input is no matrix: that is
#: more to compute, and neither MatMulNBits nor dynamic quantization takes it.
_UNWANTED = ["MatMulAddFusion"]

#: Elements from which constants are looked at for whether one is the other's transpose.
_LARGE = 1 << 16

#: Axes of height and width, from the left and from the right.
_SPATIAL = ({2, 3}, {-2, -1})


def prepare(path: Path) -> onnx.ModelProto:
    """A model whose graph is fused, every node named, and types known as far as they can be.

    Constants and batch normalization are folded as ONNX Runtime's basic optimizations do; static
    quantization wants this first, or every batch normalization would be quantized apart (ONNX
    Runtime documentation, "Quantize ONNX models: pre-processing"). Means over height and width
    become GlobalAveragePool, which ONNX Runtime can compute with integers. To prepare what was
    prepared changes no name.
    """
    state = path.stat()
    return onnx.load_from_string(_prepared(path.resolve(), state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=2)
def _prepared(path: Path, modified_ns: int, size: int) -> bytes:
    """Searches prepare one model again and again; the last two are kept."""
    model = onnx.load(str(path))
    unnamed = _name_nodes(model)
    model = _fused(model.SerializeToString() if unnamed else str(path))
    _name_nodes(model)
    _close_initializers(model)
    typed = {v.name for v in (*model.graph.value_info, *model.graph.output)}
    if any(name and name not in typed for node in model.graph.node for name in node.output):
        # ONNX Runtime leaves out the types of what its transposes were moved behind.
        model = onnx.shape_inference.infer_shapes(model)
    graph = Graph(model)
    graph.nodes = [made for node in graph.nodes for made in _as_pool(graph, node)]
    serialized: bytes = graph.finish().SerializeToString()
    return serialized


def _close_initializers(model: onnx.ModelProto) -> None:
    """Weights that old exporters list among the inputs are constants, and no inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def split_gemm(graph: Graph, names: set[str]) -> None:
    """Turns the Gemms of these names, plain products with constant weights, into MatMul + Add.

    MatMulNBits and dynamic quantization are for MatMul only.
    """
    nodes = []
    for node in graph.nodes:
        if node.op_type != "Gemm" or node.name not in names:
            nodes.append(node)
            continue
        weight = node.input[1]
        if options(node).get("transB", 0):
            values = graph.constant(weight)
            assert values is not None
            weight = graph.add(values.T, f"{weight}_transposed")
        has_bias = len(node.input) > 2 and node.input[2]
        product = graph.name(f"{node.output[0]}_product") if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], node.name))
        if has_bias:
            bias, name = node.input[2], graph.name(f"{node.name}_bias")
            nodes.append(helper.make_node("Add", [product, bias], [node.output[0]], name))
    graph.nodes = nodes


def tie_transposed(model: onnx.ModelProto) -> None:
    """Stores constants that are each other's transposes once, with a Transpose for the second.

    Folding constants takes apart what a model has tied (an embedding and its last layer), which may
    be most of its weights. A runtime folds the Transpose again when it loads the model.
    """
    seen: dict[tuple[int, ...], list[Any]] = {}
    kept, nodes = [], []
    for tensor in model.graph.initializer:
        dims = (tensor.data_type, *tensor.dims)
        is_large = len(dims) == 3 and math.prod(tensor.dims) >= _LARGE
        alike = seen.get((dims[0], *dims[:0:-1]), []) if is_large else []
        twin = next((other for other in alike if _are_transposes(other, tensor)), None)
        if twin is None:
            kept.append(tensor)
            seen.setdefault(dims, []).append(tensor)
            continue
        name = f"{tensor.name}_Transpose"
        nodes.append(helper.make_node("Transpose", [twin.name], [tensor.name], name, perm=[1, 0]))
    if nodes:
        nodes += model.graph.node
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(kept)


def with_outputs(model: onnx.ModelProto, hidden: set[str]) -> onnx.ModelProto:
    """A copy that gives every float activation as an output, but for the hidden ones."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    have = {output.name for output in tapped.graph.output} | hidden
    # ONNX Runtime leaves the types of constants, and of values that it folded away, behind.
    computed = {name for node in tapped.graph.node for name in node.output}
    for value in tapped.graph.value_info:
        if value.name in computed - have and _is_float(value):
            tapped.graph.output.append(value)
    return tapped


def _fused(model: str | bytes) -> onnx.ModelProto:
    """A model, or the file of one, after ONNX Runtime's basic optimizations."""
    import tempfile

    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "fused.onnx"
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(path)
        ort.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"], disabled_optimizers=_UNWANTED
        )
        return onnx.load(str(path))


def _as_pool(graph: Graph, node: Node) -> list[Node]:
    """ReduceMean over height and width -> GlobalAveragePool, and Flatten where they are dropped."""
    settings = options(node)
    axes: Any = settings.get("axes", [])
    if len(node.input) > 1:
        given = graph.constant(node.input[1])
        axes = [] if given is None else given.ravel()
    shape = graph.shape(node.input[0]) if node.input else None
    is_spatial = node.op_type == "ReduceMean" and set(map(int, axes)) in _SPATIAL
    if not is_spatial or shape is None or len(shape) != 4:
        return [node]
    output = node.output[0]
    if settings.get("keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [node.input[0]], [output], node.name)]
    pooled, name = graph.name(f"{output}_pooled"), graph.name(f"{node.name}_flatten")
    graph.declare_float(pooled, [*shape[:2], 1, 1])
    return [
        helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name),
        helper.make_node("Flatten", [pooled], [output], name),
    ]


def _is_float(value: Any) -> bool:
    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _are_transposes(first: Any, second: Any) -> bool:
    values = numpy_helper.to_array(first), numpy_helper.to_array(second)
    return np.array_equal(values[0].T, values[1])


def _name_nodes(model: onnx.ModelProto) -> bool:
    """Gives every node a name of its own; whether any had none."""
    seen: set[str] = set()
    changed = False
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
            changed = True
        seen.add(node.name)
    return changed
