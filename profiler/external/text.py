"""Reading what programs print: numbers and lines, whatever stands around them."""

from __future__ import annotations

import math
import re

# What logcat, TensorFlow Lite's and LiteRT's loggers and ONNX Runtime's put before a line:
# "05-30 15:16:45.362  3380  3380 I tflite  : ", "INFO: ", "INFO: [benchmark_litert_model.h:92] ".
_PREFIX = re.compile(
    r"^\s*(?:\d\d-\d\d [\d:.]+ +\d+ +\d+ [VDIWEF] \S+ *: ?)?"
    r"(?:(?:VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): ?)?(?:\[[\w./-]+:\d+\] ?)?"
)
NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


def lines_of(text: str) -> list[str]:
    """The lines without the loggers' prefixes."""
    return [_PREFIX.sub("", line, count=1).rstrip() for line in text.splitlines()]


def number(text: str | None) -> float | None:
    """A number of zero or more that is one; None for anything else."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def positive(text: str | None, scale: float = 1.0) -> float | None:
    """A number above zero, times a scale; None for anything else."""
    value = number(text)
    scaled = None if value is None else value * scale
    return scaled if scaled is not None and math.isfinite(scaled) and scaled > 0 else None


def found(pattern: str, text: str, scale: float = 1.0) -> float | None:
    """The number that the pattern's first group finds last, times a scale; None without one."""
    hits = re.findall(pattern, text, re.MULTILINE)
    value = number(hits[-1]) if hits else None
    scaled = None if value is None else value * scale
    return scaled if scaled is not None and math.isfinite(scaled) else None


def whole(value: float | None) -> int | None:
    """A number as an integer; None where there is none."""
    return None if value is None else round(value)
