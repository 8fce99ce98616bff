"""Applies a recipe to a TFLite artifact with litert-quantizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ..runtime import first_line, quiet_stderr
from .calibrate import Statistics
from .recipe import Recipe, Scheme


def apply(
    model_path: Path, recipe: Recipe, statistics: Statistics | None, destination: Path
) -> None:
    """Writes the quantized model.

    Args:
        statistics: of the activations that `tap` gives; for static recipes.

    Raises:
        UsageError: litert-quantizer can't hold the recipe's schemes, or refuses the model.
    """
    from litert_quantizer import quantizer as library

    _hush()
    try:
        quantizer = library.Quantizer(str(model_path))
        for rule in recipe.rules:
            _add_rule(quantizer, rule.scope, rule.operator, rule.scheme, recipe)
        with quiet_stderr():
            result = quantizer.quantize(
                _qsvs(model_path, recipe, statistics)
                if statistics and recipe.needs_calibration
                else None,
                enable_progress_bar=False,
                enable_progress_report=False,
            )
    except UsageError:
        raise
    except Exception as error:
        # The library raises ValueError, RuntimeError and KeyError alike for models it can't take.
        raise UsageError(
            f"litert-quantizer can't apply recipe {recipe.name}: {first_line(error)}"
        ) from error
    destination.write_bytes(bytes(result.quantized_model))


def tap(
    model_path: Path,
) -> Callable[[Mapping[str, npt.NDArray[np.generic]]], dict[str, npt.NDArray[np.generic]]]:
    """A function that runs the float model and gives every float tensor by name.

    Samples are keyed by position: '0', '1', ... in the order of the interpreter's inputs.
    """
    interpreter = _interpreter(model_path)
    inputs = interpreter.get_input_details()
    constants = _constant_indices(model_path)
    details = [
        detail
        for detail in interpreter.get_tensor_details()
        if detail["dtype"] is np.float32 and detail["index"] not in constants and detail["name"]
    ]

    def run(sample: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
        for position, detail in enumerate(inputs):
            interpreter.set_tensor(detail["index"], sample[str(position)])
        interpreter.invoke()
        seen = {}
        for detail in details:
            try:
                seen[detail["name"]] = interpreter.get_tensor(detail["index"])
            except ValueError:
                # Scratch tensors of a kernel hold nothing that can be read.
                continue
        return seen

    return run


def _interpreter(model_path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet_stderr():
        # Delegates keep their tensors to themselves: every one is to be seen here.
        interpreter = Interpreter(
            model_path=str(model_path),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    return interpreter


def _constant_indices(model_path: Path) -> set[int]:
    from litert_quantizer.utils import tfl_flatbuffer_utils

    model = tfl_flatbuffer_utils.read_model(str(model_path))
    return {
        index
        for index, tensor in enumerate(model.subgraphs[0].tensors)
        if model.buffers[tensor.buffer].data is not None
        and len(model.buffers[tensor.buffer].data) > 0
    }


def _qsvs(model_path: Path, recipe: Recipe, statistics: Statistics) -> dict[str, Any]:
    """Ranges in the form that litert-quantizer takes: arrays of the tensor's rank."""
    assert recipe.calibration is not None
    ranks = {
        detail["name"]: len(detail["shape"])
        for detail in _interpreter(model_path).get_tensor_details()
    }
    return {
        name: {
            "min": np.full((1,) * ranks[name], low, dtype=np.float32),
            "max": np.full((1,) * ranks[name], high, dtype=np.float32),
        }
        for name, (low, high) in statistics.ranges(recipe.calibration).items()
    }


def _add_rule(
    quantizer: Any, scope: str, operator: str, scheme: Scheme | None, recipe: Recipe
) -> None:
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName

    try:
        operation = qtyping.TFLOperationName(_LIBRARY_NAMES.get(operator, operator))
    except ValueError as error:
        raise UsageError(
            f"recipe {recipe.name}: litert-quantizer has no operator {operator}"
        ) from error
    if scheme is not None:
        _refuse_inexpressible(scheme, recipe)
    if scheme is None:
        quantizer.update_quantization_recipe(
            scope, operation, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
        return
    bits = {"int8": 8, "int4": 4}.get(scheme.weights, 16)
    granularity = _granularity(scheme)
    if scheme.weights == "float16":
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        # '*' would be checked against operators that hold no weights.
        for name in _CASTABLE if operator == "*" else (operation.value,):
            quantizer.update_quantization_recipe(
                scope, qtyping.TFLOperationName(name), config, AlgorithmName.FLOAT_CASTING
            )
    elif scheme.activations == "int8":
        quantizer.add_static_config(scope, operation, 8, bits, granularity)
    elif scheme.activations == "dynamic":
        quantizer.add_dynamic_config(scope, operation, bits, granularity)
    elif scheme.activations == "float32":
        quantizer.add_weight_only_config(scope, operation, bits, granularity)
    else:
        raise UsageError(
            f"recipe {recipe.name}: TFLite has no {scheme.activations} activations",
            hint="TFLite's static INT8 has signed activations ('int8')",
        )


#: Where litert-quantizer calls an operator other than TFLite's schema does.
_LIBRARY_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}

_CASTABLE = (
    "FULLY_CONNECTED",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "CONV_2D_TRANSPOSE",
    "EMBEDDING_LOOKUP",
)


def _refuse_inexpressible(scheme: Scheme, recipe: Recipe) -> None:
    asked = {
        "uint8 weights": scheme.weights == "uint8",
        "symmetric activations of 8 bits": scheme.symmetric_activations,
        "reduced ranges": scheme.reduce_range,
    }
    for words, is_asked in asked.items():
        if is_asked:
            raise UsageError(f"recipe {recipe.name}: TFLite has no {words}")


def _granularity(scheme: Scheme) -> Any:
    from litert_quantizer.qtyping import QuantGranularity

    if scheme.granularity == "blockwise":
        return QuantGranularity[f"BLOCKWISE_{scheme.block_size}"]
    return {
        "per-channel": QuantGranularity.CHANNELWISE,
        "per-tensor": QuantGranularity.TENSORWISE,
    }[scheme.granularity]


def _hush() -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)
