"""LiteRT, the successor of TensorFlow Lite's interpreter, with XNNPACK."""

from __future__ import annotations

from .base import Runner

RUNNER = Runner(
    name="ai_edge_litert",
    distribution="ai-edge-litert",
    formats=("tflite",),
    architectures=("x86_64", "aarch64"),
)
