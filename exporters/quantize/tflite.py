"""Applies a recipe to a TFLite artifact with litert-quantizer."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..runtime import first_line, quiet_stderr
from .layers import Operator
from .recipe import Recipe
from .statistics import Statistics
from .tflite_assign import Assigned, Choices, assign
from .tflite_layers import layers, layers_of, with_weights
from .tflite_model import (
    BIAS,
    WEIGHTS,
    constant,
    input_tensor,
    is_float,
    name_of,
    node_name,
    operator_of,
    read_model,
)
from .tflite_parameters import KnownWeights, of_activation, of_weights, register
from .tflite_prepare import separate_constants
from .tflite_schemes import unsupported
from .tflite_tap import tap

__all__ = ["apply", "layers", "operators", "output_names", "tap", "unsupported", "with_weights"]


def apply(
    model_path: Path, recipe: Recipe, statistics: Statistics | None, destination: Path
) -> None:
    """Writes the quantized model.

    Scales and integers of weights are those of `quantize_weights`, ranges of static activations
    those of the statistics; litert-quantizer builds the graph around them.

    Args:
        statistics: of the activations that `tap` gives; for recipes that need calibration.

    Raises:
        UsageError: TFLite can't hold the recipe's schemes, the statistics lack a tensor, or
            litert-quantizer refuses the model.
    """
    from litert_quantizer.model_modifier import ModelModifier
    from litert_quantizer.params_generator import ParamsGenerator

    logging.getLogger("absl").setLevel(logging.ERROR)
    model = read_model(model_path)
    assigned = separate_constants(model, assign(model, recipe))
    choices = Choices(model, recipe, assigned)
    if choices.need_calibration() and statistics is None:
        raise UsageError(f"recipe {recipe.name} needs statistics of activations")
    register()
    try:
        with quiet_stderr():
            parameters = ParamsGenerator(model).generate_quantization_parameters(
                choices, _handed(model, assigned, statistics), enable_progress_bar=False
            )
            written = ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except Exception as error:
        # The library raises ValueError, RuntimeError and KeyError alike for models it can't take,
        # and wraps what we raise.
        ours = _usage_error(error)
        if ours is not None:
            raise ours from error
        raise UsageError(
            f"litert-quantizer can't apply recipe {recipe.name}: {first_line(error)}"
        ) from error
    destination.write_bytes(written)


def operators(model_path: Path) -> list[Operator]:
    """All the nodes of a model, those of branches and loop bodies too."""
    model = read_model(model_path)
    return [
        Operator(
            name=node_name(graph, node),
            kind=operator_of(model, node),
            inputs=tuple(name_of(graph.tensors[i]) for i in node.inputs if i >= 0),
            outputs=tuple(name_of(graph.tensors[i]) for i in node.outputs),
        )
        for graph in model.subgraphs
        for node in graph.operators
    ]


def output_names(model_path: Path) -> list[str]:
    """The tensors that the model gives, as `tap` and `operators` name them."""
    graph = read_model(model_path).subgraphs[0]
    return [name_of(graph.tensors[index]) for index in graph.outputs]


def _handed(
    model: Any, assigned: Iterable[Assigned], statistics: Statistics | None
) -> dict[str, dict[str, Any]]:
    """What `tflite_parameters` has to know of each tensor, by its name."""
    handed: dict[str, dict[str, Any]] = {}
    graph = model.subgraphs[0]
    if statistics is not None:
        # Producer and readers of a tensor ask for the same range.
        find = cache(statistics.range)
        for tensor in graph.tensors:
            if is_float(tensor) and constant(model, tensor) is None:
                handed[name_of(tensor)] = of_activation(partial(find, name_of(tensor)))
    inputs = {layer.weight: layer.input for layer in layers_of(model) if layer.multiplies_channels}
    biases: dict[str, list[Any]] = {}
    for each in assigned:
        if not each.stores_weights:
            continue
        weights = input_tensor(each.graph, each.node, WEIGHTS)
        if constant(model, weights) is None:
            continue
        name = name_of(weights)
        known = biases.setdefault(name, [])
        first, third = (2, BIAS + 1) if each.operator == "TRANSPOSE_CONV" else (0, BIAS)
        bias = constant(model, input_tensor(each.graph, each.node, third))
        if bias is not None:
            known.append((name_of(input_tensor(each.graph, each.node, first)), bias.reshape(-1)))
        covariance = partial(_covariance, statistics, inputs.get(name))
        handed[name] = of_weights(KnownWeights(name, covariance, tuple(known)), handed)
    return handed


def _covariance(statistics: Statistics | None, tensor: str | None) -> Any:
    return None if statistics is None or tensor is None else statistics.covariance(tensor)


def _usage_error(error: BaseException) -> UsageError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UsageError):
        cause = cause.__cause__
    return cause
