"""The formats of model files."""

from __future__ import annotations

from typing import Literal

Format = Literal["onnx", "tflite"]
