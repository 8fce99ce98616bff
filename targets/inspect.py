"""Reads a model file of either format and says what is in it."""

from __future__ import annotations

from pathlib import Path

from .facts import ModelFacts
from .file_kind import model_format


def inspect_model(path: str | Path) -> ModelFacts:
    """The inputs, outputs, operators and costs of a model, read from its file; nothing is run.

    Raises:
        UsageError: the file is missing, is no model (the message says what it looks like), is
            truncated or damaged, or lacks the files that hold its weights.
    """
    path = Path(path)
    if model_format(path) == "tflite":
        from .inspect_tflite import inspect_tflite

        return inspect_tflite(path)
    from .inspect_onnx import inspect_onnx

    return inspect_onnx(path)
