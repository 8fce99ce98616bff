"""Loads a model in its runtime inside a process of its own, where a crash costs one clear error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError
from .file_kind import model_format
from .formats import Format
from .sandbox import call

#: Long enough for a model of some gigabytes on a slow disk.
TIMEOUT_S = 300.0

_RUNTIMES: dict[Format, str] = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}

#: What the runtimes put before the reason: their own markers, source files, log levels.
_NOISE = re.compile(
    r"^(?:\[ONNXRuntimeError\] : \d+ : \w+ : )?"
    r"(?:Load model from .*? failed: ?)?"
    r"(?:/\S+:\d+ (?:\S+ )?)?"
)


def assert_loads(path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """That the model's runtime accepts the file and allocates its tensors.

    Args:
        path: an ONNX or TFLite file.
        timeout_s: how long that may take.

    Raises:
        UsageError: the runtime refused the model, crashed, or took too long.
    """
    call(f"{__name__}:load", str(path), timeout_s=timeout_s, what=f"loading {path}")


def load(path: str) -> None:
    """Runs in the sandbox."""
    kind = model_format(Path(path))
    try:
        _LOADERS[kind](path)
    except Exception as error:
        # ONNX Runtime's exceptions have no base of their own.
        raise UsageError(f"{_RUNTIMES[kind]} can't load {path}: {_reason(error)}") from error


def _load_onnx(path: str) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _load_tflite(path: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    Interpreter(model_path=path).allocate_tensors()


_LOADERS: dict[Format, Callable[[str], None]] = {"onnx": _load_onnx, "tflite": _load_tflite}


def _reason(error: Exception) -> str:
    """The runtime's own words, without its markers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else "it gave no reason"
    return _NOISE.sub("", first) or first
