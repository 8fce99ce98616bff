"""Loads a model in its runtime inside a process of its own, where a crash costs one clear error."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError
from .file_kind import model_format
from .sandbox import call

#: Long enough for a model of some gigabytes on a slow disk.
TIMEOUT_S = 300.0

_RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}

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
    kind = model_format(path)
    what = f"loading {path} in {_RUNTIMES[kind]}"
    call(
        f"{__name__}:load_in_{kind}", str(path.resolve()), str(path), timeout_s=timeout_s, what=what
    )


def load_in_onnx(path: str, name: str) -> None:
    """Runs in the sandbox."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its exceptions have no base of their own but RuntimeError or Exception.
        raise _refusal("onnx", name, error) from error


def load_in_tflite(path: str, name: str) -> None:
    """Runs in the sandbox."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=path).allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _refusal("tflite", name, error) from error


def _refusal(kind: str, name: str, error: Exception) -> UsageError:
    """The runtime's own words, without its markers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else "it gave no reason"
    return UsageError(f"{_RUNTIMES[kind]} can't load {name}: {_NOISE.sub('', first) or first}")
