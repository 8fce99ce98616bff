"""Which version of a runtime knows what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from .profile import Runtime

V = TypeVar("V")

#: ONNX Runtime version -> the newest ONNX opset that it accepts, where that changed.
#: To 1.20: onnxruntime.ai/docs/reference/compatibility.html; from 1.15 tried with the wheels.
MAX_OPSET: dict[str, int] = {
    "1.10": 15,
    "1.11": 16,
    "1.12": 17,
    "1.14": 18,
    "1.15": 19,
    "1.17": 20,
    "1.18": 21,
    "1.21": 22,
    "1.23": 23,
    "1.24": 25,
    "1.25": 26,
    "1.32": 28,
}

#: ONNX Runtime version -> the newest version of the ONNX file format that it reads; as above.
MAX_IR_VERSION: dict[str, int] = {
    "1.10": 8,
    "1.15": 9,
    "1.18": 10,
    "1.23": 11,
    "1.24": 13,
    "1.32": 14,
}

#: Element type -> the version of the ONNX file format that brought it (comments of onnx.proto).
IR_VERSION_OF_TYPE: dict[str, int] = {
    "float8_e4m3fn": 9,
    "float8_e4m3fnuz": 9,
    "float8_e5m2": 9,
    "float8_e5m2fnuz": 9,
    "uint4": 10,
    "int4": 10,
    "float4_e2m1fn": 11,
    "float8_e8m0fnu": 12,
    "uint2": 13,
    "int2": 13,
    "float6_e2m3fn": 14,
    "float6_e3m2fn": 14,
}

#: LiteRT version -> the newest TensorFlow version whose operators it has all. Tried with the
#: wheels, on operators of which runtime_version.cc of the LiteRT converter names the version.
_LITERT_AS_TENSORFLOW: dict[str, str] = {
    "1.0": "2.18",
    "1.2": "2.19",
    "2.0": "2.20",
    "2.1.2": "2.21",
    "2.2": "2.23",
}

#: Domains whose operators are in the standard builds of ONNX Runtime.
DOMAINS = frozenset({"ai.onnx.ml", "com.microsoft", "com.ms.internal.nhwc"})


def is_foreign(operator: str) -> bool:
    """Whether an operator, by its name in the facts, is none of a runtime's own."""
    domain, colons, _ = operator.rpartition("::")
    return bool(colons) and domain not in DOMAINS


def at_least(version: str, wanted: str) -> bool:
    """Whether a version is `wanted` or newer; parts that are missing are zero."""
    return version_parts(version) >= version_parts(wanted)


def newest_at(table: Mapping[str, V], version: str) -> V | None:
    """The value of the newest entry that is not newer than `version`; None before the first."""
    known = [value for since, value in table.items() if at_least(version, since)]
    return known[-1] if known else None


def first_with_opset(opset: int) -> str | None:
    """The first ONNX Runtime that accepts an opset; None if none does yet."""
    return next((since for since, newest in MAX_OPSET.items() if newest >= opset), None)


def tensorflow_version(runtime: Runtime) -> str | None:
    """The TensorFlow version whose TFLite operators a runtime has; None if unknown."""
    if runtime.name == "tflite_runtime":
        return runtime.min_version
    if runtime.name == "ai_edge_litert":
        return newest_at(_LITERT_AS_TENSORFLOW, runtime.min_version)
    return None


def version_for(versioned_by: str, runtime: Runtime) -> str | None:
    """The device's version of what a support table is versioned by; None if nobody says.

    Args:
        versioned_by: 'TensorFlow' (its TFLite operators), or a runtime by any of its names.
        runtime: the device's, with the oldest version that is assumed.
    """
    name = versioned_by.lower()
    if name.startswith("tensorflow"):
        return tensorflow_version(runtime)
    own = {
        "onnxruntime": ("onnx runtime", "onnxruntime"),
        "ai_edge_litert": ("litert", "ai_edge_litert", "ai-edge-litert"),
        "tflite_runtime": ("tflite_runtime", "tflite-runtime"),
        "tflite_micro": ("tflite micro", "tflite_micro", "tflite-micro"),
    }[runtime.name]
    return runtime.min_version if name.startswith(own) else None


def version_parts(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, to compare by; parts that are missing are zero."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return tuple(numbers + [0] * (3 - len(numbers)))
