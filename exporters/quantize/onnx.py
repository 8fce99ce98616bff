"""Applies a recipe to an ONNX artifact with ONNX Runtime's quantizers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...errors import UsageError
from . import onnx_model
from .calibrate import Statistics
from .recipe import Recipe, Scheme


def apply(
    model_path: Path, recipe: Recipe, statistics: Statistics | None, destination: Path
) -> None:
    """Writes the quantized model.

    Args:
        statistics: of the activations that `tap` gives; for static recipes.

    Raises:
        UsageError: the recipe names no operator of the model, or mixes schemes.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel

    with _quiet():
        model = _prepared(model_path, recipe)
        scheme, nodes = _selected(model, recipe)
        _refuse_inexpressible(scheme, recipe)
        if scheme.weights == "float16":
            result = _float16(model, nodes)
        elif scheme.needs_calibration:
            assert statistics is not None
            result = _static(model, scheme, nodes, recipe, statistics)
        elif scheme.activations == "dynamic":
            result = _dynamic(model, scheme, nodes)
        else:
            result = _int4(model, scheme, nodes)
        # The quantizers append nodes at the end; ONNX wants every node after those it reads.
        ordered = ONNXModel(result)
        ordered.topological_sort()
        onnx.save(ordered.model, str(destination))


def tap(
    model_path: Path,
) -> Callable[[Mapping[str, npt.NDArray[np.generic]]], dict[str, npt.NDArray[np.generic]]]:
    """A function that runs the fused float model and gives inputs and float activations by name."""
    import onnxruntime as ort

    tapped = onnx_model.activations(onnx_model.fuse(onnx_model.load(model_path)))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # No fusion across operators here: it would take away tensors that are to be seen.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = {output.name: output.type for output in session.get_outputs()}
    names = [name for name, kind in kinds.items() if kind == "tensor(float)"]

    def run(sample: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
        seen = dict(zip(names, session.run(names, dict(sample)), strict=True))
        seen.update({n: a for n, a in sample.items() if a.dtype == np.float32})
        return seen

    return run


def _prepared(model_path: Path, recipe: Recipe) -> onnx.ModelProto:
    model = onnx_model.load(model_path)
    if recipe.needs_calibration:
        return onnx_model.fuse(model)
    if recipe.precision in ("int8-dynamic", "int4"):
        return onnx.shape_inference.infer_shapes(onnx_model.split_gemm(model))
    return model


def _selected(model: onnx.ModelProto, recipe: Recipe) -> tuple[Scheme, list[str]]:
    """The one scheme of the recipe and the names of the nodes it is for."""
    chosen: dict[Scheme, list[str]] = {}
    for node in model.graph.node:
        scheme = recipe.scheme_for(node.name, node.op_type)
        if scheme is not None:
            chosen.setdefault(scheme, []).append(node.name)
    if not chosen:
        raise UsageError(
            f"recipe {recipe.name} matches no operator of the model",
            hint="the model has " + ", ".join(sorted({n.op_type for n in model.graph.node})),
        )
    if len(chosen) > 1:
        raise UsageError(f"recipe {recipe.name} mixes {len(chosen)} schemes; ONNX takes one")
    return next(iter(chosen.items()))


def _refuse_inexpressible(scheme: Scheme, recipe: Recipe) -> None:
    blockwise_int4 = scheme.weights == "int4" and scheme.granularity == "blockwise"
    if scheme.activations == "float32":
        expressible = blockwise_int4
    else:
        expressible = scheme.weights != "int4" and scheme.granularity != "blockwise"
    if not expressible:
        raise UsageError(
            f"recipe {recipe.name}: ONNX has no {scheme.granularity} {scheme.weights} weights "
            f"with {scheme.activations} activations here",
            hint="INT4 weights are blockwise with float32 activations; INT8 weights are per tensor "
            "or per channel with dynamic or static activations",
        )


def _static(
    model: onnx.ModelProto,
    scheme: Scheme,
    nodes: list[str],
    recipe: Recipe,
    statistics: Statistics,
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    assert recipe.calibration is not None
    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    # Zero has to be exact: padding and ReLU produce it (Jacob et al. 2018, arXiv:1712.05877, 2.1).
    ranges = {
        name: TensorData(lowest=np.float32(min(low, 0.0)), highest=np.float32(max(high, 0.0)))
        for name, (low, high) in statistics.ranges(recipe.calibration).items()
    }
    selected = set(nodes)
    quantizer = QDQQuantizer(
        model,
        per_channel=scheme.granularity == "per-channel",
        reduce_range=scheme.reduce_range,
        weight_qType=types[scheme.weights],
        activation_qType=types[scheme.activations],
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=nodes,
        nodes_to_exclude=[n.name for n in model.graph.node if n.name not in selected],
        op_types_to_quantize=sorted(set(QDQRegistry) | set(QLinearOpsRegistry)),
        extra_options={
            "ActivationSymmetric": scheme.symmetric_activations,
            "WeightSymmetric": True,
        },
    )
    quantizer.quantize_model()
    return _model_of(quantizer)


def _dynamic(model: onnx.ModelProto, scheme: Scheme, nodes: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantizationMode, QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    quantizer = ONNXQuantizer(
        model,
        scheme.granularity == "per-channel",
        scheme.reduce_range,
        QuantizationMode.IntegerOps,
        False,
        QuantType.QInt8 if scheme.weights == "int8" else QuantType.QUInt8,
        QuantType.QUInt8,
        None,
        nodes,
        [],
        sorted(IntegerOpsRegistry),
        {"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    return _model_of(quantizer)


def _int4(model: onnx.ModelProto, scheme: Scheme, nodes: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    selected = set(nodes)
    quantizer = MatMulNBitsQuantizer(
        model,
        block_size=scheme.block_size,
        is_symmetric=True,
        # 4: activations in INT8 inside the kernel; measured 1.9x against 1.6x for 0.
        accuracy_level=4,
        nodes_to_exclude=[
            n.name for n in model.graph.node if n.op_type == "MatMul" and n.name not in selected
        ],
    )
    quantizer.process()
    return _model_of_nbits(quantizer)


def _float16(model: onnx.ModelProto, nodes: list[str]) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    selected = set(nodes)
    result: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=DEFAULT_OP_BLOCK_LIST,
        node_block_list=[n.name for n in model.graph.node if n.name not in selected],
    )
    return result


def _model_of(quantizer: Any) -> onnx.ModelProto:
    model: onnx.ModelProto = quantizer.model.model
    return model


def _model_of_nbits(quantizer: Any) -> onnx.ModelProto:
    # Versions differ in whether `model` is the proto or a wrapper around it.
    model: onnx.ModelProto = getattr(quantizer.model, "model", quantizer.model)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the libraries' running commentary (for each dead channel a warning, for example)."""
    root = logging.getLogger()
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
