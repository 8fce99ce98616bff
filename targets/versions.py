"""Which version of a runtime knows what."""

from __future__ import annotations

import re

from .profile import Runtime

#: ONNX Runtime version -> the newest ONNX opset that it accepts.
#: 1.10 to 1.20: onnxruntime.ai/docs/reference/compatibility.html.
MAX_OPSET: dict[str, int] = {
    "1.10": 15,
    "1.11": 16,
    "1.12": 17,
    "1.14": 18,
    "1.15": 19,
    "1.17": 20,
    "1.18": 21,
}

MAX_IR_VERSION: dict[str, int] = {"1.10": 8, "1.15": 9, "1.18": 10}

FIRST_WITH_OPSET: tuple[tuple[str, int], ...] = tuple(MAX_OPSET.items())

#: (operator, type of weights or None for all) -> the first ONNX Runtime that has it.
CONTRIB_SINCE: dict[tuple[str, str | None], str] = {
    ("com.microsoft::MatMulNBits", None): "1.17",
}

#: Domains whose operators are in the standard builds of ONNX Runtime.
DOMAINS = frozenset({"ai.onnx.ml", "com.microsoft", "com.ms.internal.nhwc"})


def at_least(version: str, wanted: str) -> bool:
    """Whether a version is `wanted` or newer; parts that are missing are zero."""
    return _parts(version) >= _parts(wanted)


def newest_at(table: dict[str, int], version: str) -> int | None:
    """The value of the newest entry that is not newer than `version`; None before the first."""
    known = [value for since, value in table.items() if at_least(version, since)]
    return known[-1] if known else None


def tensorflow_version(runtime: Runtime) -> str | None:
    """The TensorFlow version whose TFLite kernels a runtime has at least."""
    if runtime.name == "tflite_runtime":
        return runtime.min_version
    return None


def _parts(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))
