"""Schemes as litert-quantizer's configurations, and what TFLite can't hold."""

from __future__ import annotations

from functools import cache
from typing import Any

from .recipe import Scheme

#: Where litert-quantizer calls an operator other than TFLite's schema does.
_LIBRARY_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}

#: Operators that litert-quantizer knows the weights of: the second input.
WEIGHTED = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "TRANSPOSE_CONV",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
        "EMBEDDING_LOOKUP",
    }
)


def unsupported(scheme: Scheme) -> str | None:
    """Why no operator of TFLite can hold a scheme; None where one can.

    Sources: the TFLite 8-bit quantization specification, and litert-quantizer's
    `default_policy.py`, which lists what the runtime's kernels take.
    """
    blockwise = scheme.block_size is not None
    reasons = {
        "TFLite has no uint8 weights": scheme.weights == "uint8",
        "TFLite has no uint8 activations, but int8": scheme.activations == "uint8",
        "TFLite has int16 activations only with symmetric_activations": (
            scheme.activations == "int16" and not scheme.symmetric_activations
        ),
        "TFLite's kernels choose for themselves whether dynamic activations are symmetric": (
            scheme.activations == "dynamic" and scheme.symmetric_activations
        ),
        "TFLite has asymmetric weights only where activations stay float32": (
            not scheme.symmetric_weights and scheme.activations != "float32"
        ),
        "TFLite has blocks of weights only in symmetric int4": (
            blockwise and (scheme.weights != "int4" or not scheme.symmetric_weights)
        ),
        "TFLite has no static activations beside blocks of weights": (
            blockwise and scheme.is_static
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


@cache
def known_operators() -> frozenset[str]:
    """The operators that litert-quantizer can quantize, as the schema names them."""
    from litert_quantizer.utils import tfl_flatbuffer_utils

    ours = {theirs: name for name, theirs in _LIBRARY_NAMES.items()}
    codes = tfl_flatbuffer_utils.TFL_OP_NAME_TO_CODE
    return frozenset(ours.get(known.value, known.value) for known in codes)


def library_name(operator: str) -> Any:
    """litert-quantizer's name of an operator, or of the virtual ones INPUT and OUTPUT."""
    from litert_quantizer.qtyping import TFLOperationName

    return TFLOperationName(_LIBRARY_NAMES.get(operator, operator))


def configuration(operator: str, scheme: Scheme) -> tuple[str, Any]:
    """The algorithm and configuration for an operator.

    Integers are the business of `tflite_parameters`, which finds the scheme in the configuration.

    Args:
        scheme: for a lookup, what `stored` gives.
    """
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
    )

    from .tflite_parameters import ALGORITHM

    if scheme.weights == "float16":
        half = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
        return AlgorithmName.FLOAT_CASTING, OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
    # Tables are read row by row, without being dequantized before.
    only_stored = scheme.activations == "float32" and operator != "EMBEDDING_LOOKUP"
    return ALGORITHM, OpQuantizationConfig(
        activation_tensor_config=TensorQuantizationConfig(
            num_bits=16 if scheme.activations == "int16" else 8,
            symmetric=scheme.symmetric_activations,
            algorithm_params={"activations": scheme},
        )
        if scheme.is_static
        else None,
        weight_tensor_config=TensorQuantizationConfig(
            num_bits=4 if scheme.weights == "int4" else 8,
            symmetric=scheme.symmetric_weights,
            granularity=_granularity(scheme),
            algorithm_params={"weights": stored(scheme)},
        ),
        compute_precision=ComputePrecision.FLOAT if only_stored else ComputePrecision.INTEGER,
        explicit_dequantize=only_stored,
    )


def stored(scheme: Scheme) -> Scheme:
    """The part of a scheme that decides what is stored for the weights."""
    if scheme.weights == "float16":
        return scheme
    return scheme.model_copy(
        update={"activations": "float32", "symmetric_activations": False, "ranges": None}
    )


def refusal(operator: str, scheme: Scheme) -> str | None:
    """Why an operator of TFLite can't hold a scheme that others can."""
    from litert_quantizer import algorithm_manager

    if operator == "BATCH_MATMUL" and scheme.is_static and scheme.granularity != "per-tensor":
        # The kernel reads the first scale only (batch_matmul.cc), and gives nothing but zeros.
        return "TFLite's BATCH_MATMUL takes static weights per tensor only"
    algorithm, config = configuration(operator, scheme)
    if scheme.weights != "float16":
        algorithm = algorithm_manager.AlgorithmName.MIN_MAX_UNIFORM_QUANT
    try:
        algorithm_manager.check_op_quantization_config(algorithm, library_name(operator), config)
    except ValueError:
        return f"TFLite's {operator} does not take {_described(scheme)}"
    return None


def _described(scheme: Scheme) -> str:
    if scheme.weights == "float16":
        return "float16 weights"
    blocks = "" if scheme.block_size is None else f" in blocks of {scheme.block_size}"
    form = "" if scheme.symmetric_weights else "asymmetric "
    return f"{form}{scheme.weights} weights{blocks} with {scheme.activations} activations"


def _granularity(scheme: Scheme) -> Any:
    from litert_quantizer.qtyping import QuantGranularity

    if scheme.block_size is not None:
        return QuantGranularity[f"BLOCKWISE_{scheme.block_size}"]
    return {
        "per-channel": QuantGranularity.CHANNELWISE,
        "per-tensor": QuantGranularity.TENSORWISE,
    }[scheme.granularity]
