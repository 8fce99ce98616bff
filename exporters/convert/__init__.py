"""From any source to ONNX or TFLite: one file for each pair, named in one table."""

from __future__ import annotations

import importlib

from ...errors import UsageError
from ...targets.profile import Format
from ..source import Source, SourceKind
from .base import Conversion, Converted

__all__ = ["CONVERTERS", "Conversion", "Converted", "convert_source", "formats_for"]

#: (kind of source, format) -> the module whose `convert` does it.
CONVERTERS: dict[tuple[SourceKind, Format], str] = {
    ("torch", "onnx"): "torch_to_onnx",
    ("torch", "tflite"): "torch_to_tflite",
    ("exported-program", "onnx"): "torch_to_onnx",
    ("exported-program", "tflite"): "torch_to_tflite",
    ("keras", "tflite"): "keras_to_tflite",
    ("saved-model", "tflite"): "keras_to_tflite",
}

_WORDS: dict[str, str] = {
    "torch": "PyTorch",
    "exported-program": "a PyTorch exported program",
    "keras": "Keras",
    "saved-model": "a SavedModel",
    "onnx": "ONNX",
    "tflite": "TFLite",
}


#: A file that was converted before loses nothing if the conversion starts from its origin.
_ORIGIN = {
    "onnx": "; start from the PyTorch model, if there is one",
    "tflite": "; start from the PyTorch model, if there is one",
}


def convert_source(source: Source, model_format: Format, conversion: Conversion) -> Converted:
    """Converts a source to another format and writes `conversion.destination`.

    A source that is an ONNX or TFLite file already is no conversion; the caller takes it as it is.

    Raises:
        UsageError: there is no way from this kind of source to this format, or the source is wrong.
        ConversionError: this model can't be expressed in the format.
    """
    name = CONVERTERS.get((source.kind, model_format))
    if name is None:
        possible = formats_for(source.kind)
        raise UsageError(
            f"{source.spec}: {_WORDS[source.kind]} -> {_WORDS[model_format]} is not possible yet",
            hint=f"from {_WORDS[source.kind]}: {', '.join(possible)}{_ORIGIN.get(source.kind, '')}",
        )
    converted: Converted = importlib.import_module(f".{name}", __name__).convert(source, conversion)
    return converted


def formats_for(kind: SourceKind) -> tuple[Format, ...]:
    """The formats that a source can have, its own included."""
    formats: tuple[Format, ...] = ("onnx", "tflite")
    return tuple(f for f in formats if f == kind or (kind, f) in CONVERTERS)
