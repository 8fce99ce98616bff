"""Multiply-accumulates of TFLite's convolutions and matrix products.

Shapes are those of the kernels' documentation: NHWC activations, weights OHWI (CONV_2D,
TRANSPOSE_CONV), 1HWC (DEPTHWISE_CONV_2D), DHWIO (CONV_3D) and [units, inputs] (FULLY_CONNECTED).
"""

from __future__ import annotations

from collections.abc import Sequence

from .dtypes import elements

#: Shape of a tensor; None if it is unknown.
Shape = Sequence[int | None] | None

#: The positions of activation and weights among the inputs.
PRODUCT_OPERANDS: dict[str, tuple[int, int]] = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}

#: Operators that multiply and whose work is not counted here.
UNCOUNTED = frozenset(
    {
        "CONV_3D_TRANSPOSE",
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "RNN",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "SVDF",
        "STABLEHLO_DOT_GENERAL",
        "STABLEHLO_CONVOLUTION",
    }
)


def count_macs(operator: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int | None:
    """Multiply-accumulates of one node; 0 for operators that are no product, None if unknown."""
    if operator in UNCOUNTED or operator.startswith(("custom::", "flex::")):
        return None
    operands = PRODUCT_OPERANDS.get(operator)
    if operands is None:
        return 0
    activation, weights = (inputs[position] for position in operands)
    out = elements(outputs[0])
    volume = elements(weights)
    if activation is None or weights is None or out is None or volume is None:
        return None
    if operator == "DEPTHWISE_CONV_2D":
        return out * volume // _size(weights, -1)
    if operator == "CONV_3D":
        return out * volume // _size(weights, -1)
    if operator == "TRANSPOSE_CONV":
        spread = elements(activation)
        return None if spread is None else spread * volume // _size(weights, -1)
    if operator == "BATCH_MATMUL":
        return _batched(activation, weights, outputs[0])
    return out * volume // _size(weights, 0)


def _batched(left: Sequence[int | None], right: Sequence[int | None], out: Shape) -> int | None:
    """Of [..., m, k] times [..., k, n], either possibly transposed: k is what `out` lacks."""
    out_elements, left_elements = elements(out), elements(left)
    if out is None or out_elements is None or left_elements is None or len(left) < 2:
        return None
    rows = _size(out, -2)
    batch = elements(left[:-2]) or 1
    return out_elements * (left_elements // (batch * max(rows, 1)))


def _size(shape: Sequence[int | None], axis: int) -> int:
    """A known dimension, at least 1 so that empty tensors divide."""
    return max(shape[axis] or 1, 1)
