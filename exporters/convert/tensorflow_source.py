"""A TensorFlow source as one function of fixed shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import ConversionError
from ..artifact import Array
from ..source import Source
from .causes import naming_the_cause
from .extras import need
from .names import distinct
from .quiet import quiet

_SEED = 0


@dataclass(frozen=True)
class TensorFlowSource:
    """A TensorFlow function from named inputs to named outputs, all shapes fixed.

    Attributes:
        function: the concrete function; it takes tensors in order and returns a dict.
        owner: what holds its variables.
        input_names, output_names: in the source's order.
        example_inputs: one array for each input.
    """

    function: Any
    owner: Any
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    example_inputs: tuple[Array, ...]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs the source itself, on the CPU; arrays are cast to the types of its inputs."""
        tensorflow = need_tensorflow()
        with tensorflow.device("/CPU:0"):
            outputs = self.function(
                *(
                    tensorflow.constant(np.asarray(array, example.dtype))
                    for array, example in zip(arrays, self.example_inputs, strict=True)
                )
            )
        return [np.array(outputs[name].numpy()) for name in self.output_names]


def need_tensorflow() -> ModuleType:
    """Imports TensorFlow quietly.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return need("tensorflow", "tensorflow")


def fixed_function(
    source: Source,
    call: Callable[[dict[str, Any]], Mapping[str, Any]],
    owner: Any,
    inputs: Mapping[str, Any],
    output_names: Sequence[str],
) -> TensorFlowSource:
    """Traces a function of open shapes once, for a batch of one.

    Example inputs are drawn with a fixed seed: floats uniform in [0, 1), integers and booleans
    0 or 1, so that they are in any vocabulary.

    Args:
        call: from a dict of tensors named as `inputs` to one named as `output_names`.
        owner: what holds the variables.
        inputs: name -> anything with TensorFlow's `shape` and `dtype`, in the source's order.

    Raises:
        ConversionError: an input has an open dimension besides the batch, or a type that arrays
            do not have; or the model can't be traced.
    """
    tensorflow = need_tensorflow()
    specs = {name: _fixed(source, tensorflow, name, spec) for name, spec in inputs.items()}
    outputs = dict(zip(output_names, distinct(output_names, taken=specs), strict=True))

    def renamed(*tensors: Any) -> dict[str, Any]:
        results = call(dict(zip(specs, tensors, strict=True)))
        return {outputs[name]: results[name] for name in output_names}

    with naming_the_cause(source.spec, "TFLite"), quiet():
        function = tensorflow.function(renamed, autograph=False).get_concrete_function(
            *specs.values()
        )
    random = np.random.default_rng(_SEED)
    return TensorFlowSource(
        function,
        owner,
        tuple(specs),
        tuple(outputs.values()),
        tuple(_example(random, spec) for spec in specs.values()),
    )


def _fixed(source: Source, tensorflow: ModuleType, name: str, spec: Any) -> Any:
    dtype = tensorflow.as_dtype(spec.dtype)
    if not (dtype.is_bool or dtype.is_integer or dtype in _floats(tensorflow)) or (
        getattr(spec, "sparse", False) or getattr(spec, "ragged", False)
    ):
        raise ConversionError(
            f"can't convert {source.spec} to TFLite: its input {name} takes {dtype.name} values"
            + (" in a sparse or ragged tensor" if dtype.name != "string" else ""),
            hint="leave this preprocessing out of the model: give it dense tensors of numbers",
        )
    shape = tensorflow.TensorShape(spec.shape)
    sizes = list(shape) if shape.rank is not None else [None, None]
    if sizes[:1] == [None]:
        sizes[0] = 1
    if None in sizes:
        raise ConversionError(
            f"can't convert {source.spec} to TFLite: its input {name} has the open shape {shape}",
            hint="save the model with fixed sizes, e.g. keras.Input((224, 224, 3)) or a signature "
            "with tf.TensorSpec((1, 224, 224, 3)); only the first dimension, the batch, may be "
            "open, and becomes 1",
        )
    return tensorflow.TensorSpec(sizes, dtype, name=name)


def _floats(tensorflow: ModuleType) -> tuple[Any, ...]:
    return (tensorflow.float16, tensorflow.float32, tensorflow.float64)


def _example(random: np.random.Generator, spec: Any) -> Array:
    shape = tuple(spec.shape)
    if spec.dtype.is_floating:
        return random.random(shape).astype(spec.dtype.as_numpy_dtype)
    return random.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype)
