"""Loads a model in its runtime inside a process of its own, where a crash costs one clear error."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from ..errors import UsageError
from .file_kind import model_format
from .profile import Format

#: Long enough for a model of some gigabytes on a slow disk.
TIMEOUT_S = 300.0

_RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}

#: What the runtimes put before the reason: their own markers, source files, log levels.
_NOISE = re.compile(
    r"^(?:\w+(?:Error|Exception|Fail|Argument|Graph|Protobuf|File)?: )?"
    r"(?:\[ONNXRuntimeError\] : \d+ : \w+ : )?"
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
    runtime = _RUNTIMES[kind]
    command = [sys.executable, "-P", "-m", __name__, str(path.resolve())]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{runtime} did not load {path} in {timeout_s:g} s") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UsageError(
            f"{runtime} crashed while it loaded {path} ({name})",
            hint="the file is damaged, or uses what this runtime can't handle",
        )
    if done.returncode:
        raise UsageError(f"{runtime} can't load {path}: {_reason(done.stderr)}")


def _reason(stderr: str) -> str:
    """The runtime's own words: the last line of the traceback, without its markers."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    starts = [
        i for i, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception|Fail)\b", line)
    ]
    line = lines[starts[-1]] if starts else lines[-1] if lines else "it gave no reason"
    return _NOISE.sub("", re.sub(r"^[\w.]+: ", "", line)) or line


def _load(path: str, kind: Format) -> None:
    if kind == "onnx":
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return
    from ai_edge_litert.interpreter import Interpreter

    Interpreter(model_path=path).allocate_tensors()


if __name__ == "__main__":
    _load(sys.argv[1], model_format(Path(sys.argv[1])))
