"""Multiply-accumulates of TFLite's convolutions and matrix products.

Shapes are those of the kernels (tensorflow/lite/kernels): NHWC activations, weights OHWI (CONV_2D,
TRANSPOSE_CONV), 1HWC (DEPTHWISE_CONV_2D), DHWIO (CONV_3D), DHWOI (CONV_3D_TRANSPOSE) and
[units, inputs] (FULLY_CONNECTED). Recurrent layers multiply every weight matrix once with each
step's vector: svdf.cc, basic_rnn.cc, unidirectional_sequence_lstm.cc, lstm.cc and their
bidirectional forms name the matrices' positions. Products of single elements (gates, peepholes)
are no part of the count, nor is what sparse weights leave out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .dtypes import elements
from .facts import Attribute

#: Shape of a tensor; None if it is unknown.
Shape = Sequence[int | None] | None

#: Of an input that is left out.
ABSENT: Shape = (0,)

#: The positions of activation and weights among the inputs.
PRODUCT_OPERANDS: dict[str, tuple[int, int]] = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
    "TRANSPOSE_CONV": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}

#: Recurrent operators: the positions of the matrices that each step's vector is multiplied with.
_MATRICES: dict[str, tuple[int, ...]] = {
    "SVDF": (1, 2),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "LSTM": (*range(1, 9), 16),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)),
}

#: LSTM with kernel type BASIC: all gates in one matrix.
_BASIC_LSTM = (2,)


def count_macs(
    operator: str,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    attributes: Mapping[str, Attribute],
) -> int | None:
    """Multiply-accumulates of one node; 0 for operators that are no product, None if unknown."""
    if operator.startswith(("custom::", "flex::", "BUILTIN_")):
        return None
    if operator in _MATRICES:
        basic = attributes.get("kernel_type") == "BASIC"
        return _recurrent(inputs, _BASIC_LSTM if basic else _MATRICES[operator])
    if operator == "STABLEHLO_DOT_GENERAL":
        return _dot_general(inputs[0], outputs[0], attributes)
    if operator == "STABLEHLO_CONVOLUTION":
        return _general_convolution(inputs[1], outputs[0], attributes)
    operands = PRODUCT_OPERANDS.get(operator)
    if operands is None:
        return 0
    activation, weights = (inputs[position] for position in operands)
    out = elements(outputs[0])
    volume = elements(weights)
    if activation is None or weights is None or out is None or volume is None:
        return None
    if operator in ("DEPTHWISE_CONV_2D", "CONV_3D"):
        return out * volume // _size(weights, -1)
    if operator in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
        spread = elements(activation)
        return None if spread is None else spread * volume // _size(weights, -1)
    if operator == "BATCH_MATMUL":
        return _batched(activation, weights, outputs[0])
    return out * volume // _size(weights, 0)


def _recurrent(inputs: Sequence[Shape], matrices: Sequence[int]) -> int | None:
    """Every matrix once for each vector of the input, whichever of its axes is time."""
    source = inputs[0]
    values = elements(source)
    sizes = [elements(inputs[position]) for position in matrices if position < len(inputs)]
    known = [size for size in sizes if size is not None]
    if source is None or values is None or len(known) < len(sizes):
        return None
    return values // _size(source, -1) * sum(known)


def _batched(left: Sequence[int | None], right: Sequence[int | None], out: Shape) -> int | None:
    """Of [..., m, k] times [..., k, n], either possibly transposed: k is what `out` lacks."""
    out_elements, left_elements = elements(out), elements(left)
    if out is None or out_elements is None or left_elements is None or len(left) < 2:
        return None
    rows = _size(out, -2)
    batch = elements(left[:-2]) or 1
    return out_elements * (left_elements // (batch * max(rows, 1)))


def _dot_general(left: Shape, out: Shape, attributes: Mapping[str, Attribute]) -> int | None:
    """Each output is a sum over the contracted dimensions (StableHLO specification)."""
    values = elements(out)
    if left is None or values is None or elements(left) is None:
        return None
    axes = attributes.get("lhs_contracting_dimensions", ())
    return values * math.prod(_size(left, int(axis)) for axis in _tuple(axes))


def _general_convolution(
    kernel: Shape, out: Shape, attributes: Mapping[str, Attribute]
) -> int | None:
    """Each output is a sum over the kernel of its output feature (StableHLO specification)."""
    values, volume = elements(out), elements(kernel)
    axis = attributes.get("kernel_output_feature_dimension", 0)
    if kernel is None or values is None or volume is None or not isinstance(axis, int):
        return None
    return values * volume // _size(kernel, axis)


def _tuple(value: Attribute) -> tuple[int | float | str, ...]:
    return value if isinstance(value, tuple) else ()


def _size(shape: Sequence[int | None], axis: int) -> int:
    """A known dimension, at least 1 so that empty tensors divide."""
    return max(shape[axis] or 1, 1)
