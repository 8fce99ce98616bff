"""tflite-runtime, TensorFlow Lite's own small package, no longer maintained (2.14, 2023).

It is the only TFLite runtime with wheels for 32-bit ARM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Installed, Runner, major

if TYPE_CHECKING:
    from ..job import MeasuredModel


def _refusal(installed: Installed) -> str | None:
    numpy = major(installed.numpy)
    if numpy is not None and numpy >= 2:
        return (
            f"tflite-runtime is built for NumPy 1 and fails with the NumPy {installed.numpy} "
            f"there (`{installed.python} -m pip install 'numpy<2'` would do)"
        )
    return None


def _notes(installed: Installed, model: MeasuredModel) -> tuple[str, ...]:
    if model.precision != "quantized":
        return ()
    return (
        "tflite-runtime 2.14 computes newer dynamically quantized models wrongly without saying so "
        "(per-channel INT8 fully-connected layers, INT4 convolutions): go by the correctness check",
    )


RUNNER = Runner(
    name="tflite_runtime",
    distribution="tflite-runtime",
    formats=("tflite",),
    architectures=("x86_64", "aarch64", "armv7l"),
    refusal=_refusal,
    notes=_notes,
)
