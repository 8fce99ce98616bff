"""Our integers and scales, given to litert-quantizer as a quantization algorithm of its own kind.

litert-quantizer decides the structure (which tensor becomes an integer, where QUANTIZE and
DEQUANTIZE go, which tensors share parameters) and asks an algorithm for the parameters of one
tensor after the other. What the algorithm has to know of a tensor is handed through in place of
calibration results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .grid import Floats, Grid
from .recipe import RangeMethod, Scheme
from .weights import activation_grid, quantize_weights, weight_grid

ALGORITHM = "edgewright"

Ranges = Callable[[Grid, RangeMethod], tuple[float, float]]

#: Biases are int32 in steps of input scale x weight scale; they may take up half of that range.
_LARGEST_BIAS = 2**30

#: The least scale of a block that is not zero in its float16.
_SMALLEST_BLOCK_SCALE = float(np.finfo(np.float16).smallest_subnormal)
_LARGEST_BLOCK_SCALE = 65280.0


@dataclass(frozen=True)
class KnownWeights:
    """What decides how weights are rounded, beside the scheme.

    Attributes:
        name: the constant's name in the file.
        covariance: gives that of the inputs they are multiplied with, None where unknown.
        biases: of each node that reads them, with the name of the tensor that it multiplies them
            with: float32 [out].
    """

    name: str
    covariance: Callable[[], Floats | None]
    biases: tuple[tuple[str, Floats], ...]


def of_activation(ranges: Ranges) -> dict[str, Any]:
    """What is handed through for an activation.

    litert-quantizer copies it to tensors that have to have the same parameters, and adds 'min' and
    'max' where the kernel knows no other range (softmax, for example).
    """
    return {"ranges": ranges}


def of_weights(known: KnownWeights, handed: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What is handed through for weights; `handed` is all that is, for the range of the input."""
    return {"weights": known, "handed": handed}


@cache
def register() -> None:
    """Makes the algorithm known to litert-quantizer."""
    from litert_quantizer import algorithm_manager as manager
    from litert_quantizer.algorithms.uniform_quantize import naive_min_max_quantize

    for operator, materialize in manager.MIN_MAX_OP_NAME_MATERIALIZE_FUNC_DICT.items():
        manager.register_quantized_op(
            ALGORITHM,
            operator,
            naive_min_max_quantize.init_qsvs,
            calibration_func=naive_min_max_quantize.min_max_calibrate,
            materialize_func=partial(materialize, _parameters),
        )


def _parameters(
    op_info: Any, config: Any, content: Floats | None, handed: dict[str, Any] | None
) -> Any:
    """Parameters of one tensor, and its integers where it is a constant (`content`)."""
    if handed is not None and "weights" in handed:
        assert content is not None
        return _weights(op_info, config, content, handed)
    if "weights" in config.algorithm_params:
        # A constant first operand of an operator whose second may be weights.
        config = op_info.op_quant_config.activation_tensor_config
    scheme: Scheme = config.algorithm_params["activations"]
    grid = activation_grid(scheme)
    if content is not None:
        return _activation(grid, (float(content.min()), float(content.max())), content)
    assert handed is not None
    return _activation(grid, _range(handed, scheme))


def _range(handed: Mapping[str, Any], scheme: Scheme) -> tuple[float, float]:
    if "min" in handed:
        return float(handed["min"]), float(handed["max"])
    assert scheme.ranges is not None
    ranges: Ranges = handed["ranges"]
    return ranges(activation_grid(scheme), scheme.ranges)


def _activation(grid: Grid, reach: tuple[float, float], content: Floats | None = None) -> Any:
    from litert_quantizer.qtyping import UniformQuantParams

    # Arrays without dimensions broadcast to constants of any rank.
    scale, zero_point = grid.parameters(*reach)
    dtype = np.int16 if grid.bits > 8 else np.int8
    integers = None if content is None else grid.quantize(content, scale, zero_point).astype(dtype)
    return UniformQuantParams(
        num_bits=grid.bits,
        quantized_dimension=None,
        scale=np.asarray(scale),
        zero_point=np.asarray(zero_point),
        symmetric=grid.symmetric,
        quantized_data=integers,
    )


def _weights(op_info: Any, config: Any, content: Floats, handed: dict[str, Any]) -> Any:
    from litert_quantizer.algorithms.utils.common_utils import get_weight_quantized_dim
    from litert_quantizer.qtyping import UniformQuantParams

    scheme: Scheme = config.algorithm_params["weights"]
    known: KnownWeights = handed["weights"]
    axes = _axes(op_info, content.ndim)
    rows = np.ascontiguousarray(content.transpose(axes))
    quantized = quantize_weights(
        rows,
        scheme,
        covariance=known.covariance() if scheme.rounding == "gptq" else None,
        round_scale=_scale_rounding(op_info, scheme, rows, known, handed["handed"]),
        name=known.name,
    )
    integers = quantized.integers.transpose(np.argsort(axes)).astype(np.int8)
    return UniformQuantParams(
        num_bits=config.num_bits,
        quantized_dimension=get_weight_quantized_dim(op_info, content, config.granularity),
        scale=quantized.scale,
        zero_point=quantized.zero_point,
        symmetric=weight_grid(scheme).symmetric,
        quantized_data=np.ascontiguousarray(integers),
        block_size=scheme.block_size or 0,
    )


def _axes(op_info: Any, rank: int) -> tuple[int, ...]:
    """The order of axes that puts weights as `Layer` does: outputs, inputs, height, width."""
    from litert_quantizer.qtyping import TFLOperationName as Name

    if op_info.op_name in (Name.CONV_2D, Name.CONV_2D_TRANSPOSE):
        return (0, 3, 1, 2)
    if op_info.op_name == Name.DEPTHWISE_CONV_2D:
        return (3, 0, 1, 2)
    if op_info.op_name == Name.BATCH_MATMUL:
        outputs = rank - 2 if op_info.op.builtinOptions.adjY else rank - 1
        return (outputs, *(axis for axis in range(rank) if axis != outputs))
    return tuple(range(rank))


def _scale_rounding(
    op_info: Any,
    scheme: Scheme,
    rows: Floats,
    known: KnownWeights,
    handed: Mapping[str, dict[str, Any]],
) -> Callable[[Floats], Floats] | None:
    """What the file asks of scales."""
    if scheme.block_size is not None:
        return _block_scale
    activations = op_info.op_quant_config.activation_tensor_config
    if activations is None or not known.biases:
        return None
    used: Scheme = activations.algorithm_params["activations"]
    steps = []
    for name, bias in known.biases:
        input_scale, _ = activation_grid(used).parameters(*_range(handed[name], used))
        steps.append(np.abs(bias.astype(np.float64)) / float(input_scale))
    return partial(_holds_biases, rows, np.max(steps, axis=0))


def _block_scale(scale: Floats) -> Floats:
    """Scales of blocks are float16 with no more bits of mantissa than bfloat16 has."""
    from ml_dtypes import bfloat16

    clipped = np.clip(scale, _SMALLEST_BLOCK_SCALE, _LARGEST_BLOCK_SCALE)
    return np.asarray(clipped.astype(bfloat16).astype(np.float16).astype(np.float32))


def _holds_biases(rows: Floats, biases: npt.NDArray[np.float64], scale: Floats) -> Floats:
    """Scales in whose steps a bias, in units of the input's scale, neither overflows nor is lost.

    A channel of zeros may have any scale: it takes the largest of the others.
    """
    needed = biases / _LARGEST_BIAS
    if scale.size == 1:
        needed = needed.max(initial=0.0, keepdims=True)
    else:
        dead = ~rows.reshape(len(rows), -1).any(axis=1)
        if dead.any() and not dead.all():
            scale = np.where(dead, scale[~dead].max(), scale)
    return np.maximum(scale, needed).astype(np.float32)
