"""A TensorFlow SavedModel as a function of fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ..runtime import first_line
from ..source import Source
from .quiet import quiet
from .tensorflow_source import TensorFlowSource, fixed_function, need_tensorflow

_SIGNATURE = "serving_default"


def load_saved_model(source: Source) -> TensorFlowSource:
    """Loads a SavedModel's signature 'serving_default'.

    Inputs and outputs have the signature's names, in alphabetical order: a signature has no other.

    Raises:
        UsageError: TensorFlow is missing, the directory is broken or lacks the signature.
        ConversionError: see `fixed_function`.
    """
    tensorflow = need_tensorflow()
    try:
        with quiet():
            loaded = tensorflow.saved_model.load(str(source.file))
    except Exception as error:
        raise UsageError(
            f"{source.file} can't be loaded as a SavedModel: {first_line(error)}"
        ) from error
    if _SIGNATURE not in loaded.signatures:
        present = ", ".join(sorted(loaded.signatures)) or "none at all"
        raise UsageError(
            f"{source.file} has no signature {_SIGNATURE}; it has {present}",
            hint="save it with signatures={'serving_default': FUNCTION}, or from Keras with "
            "model.export(DIRECTORY)",
        )
    signature = loaded.signatures[_SIGNATURE]

    def call(tensors: dict[str, Any]) -> Mapping[str, Any]:
        outputs: Mapping[str, Any] = signature(**tensors)
        return outputs

    inputs = dict(sorted(signature.structured_input_signature[1].items()))
    return fixed_function(source, call, loaded, inputs, sorted(signature.structured_outputs))
