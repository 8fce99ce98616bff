"""A Keras model file as a function of fixed shapes."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ...errors import UsageError
from ..runtime import first_line
from ..source import Source
from .extras import need
from .quiet import quiet
from .tensorflow_source import TensorFlowSource, fixed_function, need_tensorflow


def load_keras(source: Source) -> TensorFlowSource:
    """Loads a .keras or .h5 file without running any code that it may hold.

    Inputs and outputs are named by the keys of a dict, where the model takes or gives one, and
    else by the layers that they belong to.

    Raises:
        UsageError: TensorFlow is missing; the file is broken, needs code to be loaded, or says
            not what the model's inputs are.
        ConversionError: see `fixed_function`.
    """
    tensorflow = need_tensorflow()
    with _backend_tensorflow():
        keras = need("keras", "tensorflow")
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"Keras runs on {keras.backend.backend()} in this process, not on TensorFlow",
            hint="convert in a process of its own, or set KERAS_BACKEND=tensorflow",
        )
    model = _load(source, keras)
    inputs, outputs = _structures(source, keras, model)
    input_names = _names(keras, inputs)
    output_names = _names(keras, outputs)

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        packed = keras.tree.pack_sequence_as(inputs, [tensors[name] for name in input_names])
        results = keras.tree.flatten(model(packed, training=False))
        return dict(zip(output_names, results, strict=True))

    owner = tensorflow.Module()
    # The converter freezes the variables that it can reach from the owner, and no Keras ones.
    owner.frozen = [variable.value for variable in model.variables]
    specs = dict(zip(input_names, keras.tree.flatten(inputs), strict=True))
    return fixed_function(source, call, owner, specs, output_names)


@contextmanager
def _backend_tensorflow() -> Iterator[None]:
    """Has Keras, while it is imported, take TensorFlow whatever KERAS_BACKEND says."""
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before


def _load(source: Source, keras: ModuleType) -> Any:
    path = source.file
    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is no Keras file: it is empty, cut short or something else")
    try:
        with quiet():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        text = str(error)
        if ("Lambda" in text and "unsafe" in text) or "arbitrary code" in text:
            raise UsageError(
                f"{path} holds a Lambda layer, which is Python code that loading would run",
                hint="write a layer class or use keras.ops in place of the Lambda layer, or export "
                "with model.export(DIRECTORY) and pass the directory",
            ) from error
        custom = re.search(r"Could not (?:locate|deserialize) \w+ '([^']+)'", text)
        if custom:
            raise UsageError(
                f"{path} uses {custom[1]}, Python code that is not in the file",
                hint="export with model.export(DIRECTORY), and pass the directory",
            ) from error
        raise UsageError(f"{path} can't be loaded by Keras: {first_line(error)}") from error


def _structures(source: Source, keras: ModuleType, model: Any) -> tuple[Any, Any]:
    """What the model takes and gives: symbolic tensors, bare or in lists and dicts."""
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise UsageError(
            f"{source.file} does not say what the model's inputs are",
            hint="give a Sequential model a keras.Input first; export a subclassed model with "
            "model.export(DIRECTORY) and pass the directory",
        )
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def _names(keras: ModuleType, structure: Any) -> list[str]:
    if isinstance(structure, dict):
        paths: Sequence[Any] = keras.tree.flatten_with_path(structure)
        return ["_".join(str(part) for part in path) for path, _ in paths]
    operations = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(structure)]
    return [
        name if operations.count(name) == 1 else f"{name}_{operations[:index].count(name)}"
        for index, name in enumerate(operations)
    ]
