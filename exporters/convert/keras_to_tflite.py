"""Keras and SavedModel -> TFLite with TensorFlow's converter."""

from __future__ import annotations

from ...errors import UsageError
from ..source import Source
from .base import Conversion, Converted
from .causes import naming_the_cause
from .keras_model import load_keras
from .quiet import quiet
from .saved_model import load_saved_model
from .tensorflow_source import need_tensorflow
from .tflite_ports import converted


def convert(source: Source, conversion: Conversion) -> Converted:
    """Converts a source of kind 'keras' or 'saved-model'.

    The batch is 1 where the source leaves it open. TensorFlow is channels-last already, so that
    `conversion.layout` 'nhwc' changes nothing.

    Raises:
        UsageError: the source can't be loaded, or layout is 'nchw'.
        ConversionError: it can't be expressed in TFLite's built-in operators, or has a dimension
            besides the batch that is known only at run time.
    """
    if conversion.layout == "nchw":
        raise UsageError(
            f"{source.spec}: a TensorFlow model keeps its own layout in TFLite",
            hint="leave layout out, or use 'nhwc'",
        )
    tensorflow = need_tensorflow()
    model = load_keras(source) if source.kind == "keras" else load_saved_model(source)
    with naming_the_cause(source.spec, "TFLite"), quiet():
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions(
            [model.function], model.owner
        )
        content = converter.convert()
    conversion.destination.write_bytes(content)
    return converted(content, model, {})
