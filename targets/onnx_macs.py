"""Multiply-accumulates of ONNX' convolutions and matrix products (shapes as in Operators.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .dtypes import elements
from .onnx_scope import Shape

#: Positions of activation and weights among the inputs.
PRODUCT_OPERANDS: dict[str, tuple[int, int]] = {
    "Conv": (0, 1),
    "com.microsoft::FusedConv": (0, 1),
    "com.microsoft::NhwcFusedConv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
    "com.microsoft::QLinearConv": (0, 3),
    "ConvTranspose": (0, 1),
    "MatMul": (0, 1),
    "com.microsoft::FusedMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "com.microsoft::MatMulIntegerToFloat": (0, 1),
    "com.microsoft::DynamicQuantizeMatMul": (0, 1),
    "com.microsoft::MatMulNBits": (0, 1),
    "Gemm": (0, 1),
    "com.microsoft::QGemm": (0, 3),
    "LSTM": (0, 1),
    "GRU": (0, 1),
    "RNN": (0, 1),
}

#: Operators that multiply and whose work is not counted here.
_UNCOUNTED = frozenset(
    {
        "Attention",
        "com.microsoft::Attention",
        "com.microsoft::QAttention",
        "com.microsoft::MultiHeadAttention",
        "com.microsoft::GroupQueryAttention",
        "com.microsoft::DynamicQuantizeLSTM",
        "com.microsoft::MatMulBnb4",
        "com.microsoft::QMoE",
        "com.microsoft::MoE",
        "DeformConv",
        "Einsum",
    }
)

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def count_macs(
    operator: str, attributes: Mapping[str, Any], inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> int | None:
    """Multiply-accumulates of one node; 0 for operators that are no product, None if unknown."""
    if operator in _UNCOUNTED:
        return None
    operands = PRODUCT_OPERANDS.get(operator)
    if operands is None:
        known_domain = "::" not in operator or operator.startswith("com.microsoft::")
        return 0 if known_domain else None
    if len(inputs) <= max(operands) or not outputs:
        return None
    left, right = inputs[operands[0]], inputs[operands[1]]
    if operator == "com.microsoft::MatMulNBits":
        return _times(elements(left), int(attributes.get("N", 0)))
    if operator in _RECURRENT:
        return _recurrent(left, right, inputs[2] if len(inputs) > 2 else None)
    if left is None or right is None or outputs[0] is None or not right:
        return None
    out, weights = elements(outputs[0]), elements(right)
    if operator == "ConvTranspose":
        spread = elements(left)
        return None if spread is None or weights is None else spread * weights // _size(right, 0)
    if "Conv" in operator:
        return None if out is None or weights is None else out * weights // _size(right, 0)
    if "Gemm" in operator:
        depth = left[0 if attributes.get("transA") else -1]
    else:
        depth = left[-2 if attributes.get("transA") and len(left) > 1 else -1] if left else None
    return None if depth is None else _times(out, depth)


def _recurrent(x: Shape, w: Shape, r: Shape) -> int | None:
    """X is [steps, batch, inputs]; W and R hold all gates of all directions."""
    kernel, recurrence = elements(w), elements(r)
    if x is None or len(x) != 3 or kernel is None or recurrence is None:
        return None
    steps = elements(x[:2])
    return None if steps is None else steps * (kernel + recurrence)


def _times(size: int | None, factor: int) -> int | None:
    return None if size is None else size * factor


def _size(shape: Sequence[int | None], axis: int) -> int:
    """A known dimension, at least 1 so that empty tensors divide."""
    return max(shape[axis] or 1, 1)
