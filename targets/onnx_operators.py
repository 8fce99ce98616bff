"""What ONNX operators are called."""

from __future__ import annotations

from typing import Any

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def operator_name(node: Any) -> str:
    """'Conv', and 'com.microsoft::MatMulNBits' outside of the standard domain."""
    if node.domain in STANDARD_DOMAINS:
        return str(node.op_type)
    return f"{node.domain}::{node.op_type}"
