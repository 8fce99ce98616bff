"""ONNX Runtime, on the CPU execution provider."""

from __future__ import annotations

from .base import Runner

RUNNER = Runner(
    name="onnxruntime",
    distribution="onnxruntime",
    formats=("onnx",),
    architectures=("x86_64", "aarch64"),
)
