"""How each convolution and matrix product of an ONNX graph was quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from .onnx_macs import PRODUCT_OPERANDS
from .onnx_scope import Scope
from .onnx_values import largest_weight
from .tally import QuantizedUse

#: Operators that compute with integers themselves: positions of the weights' scale and zero point.
_INTEGER: dict[str, tuple[int | None, int]] = {
    "ConvInteger": (None, 3),
    "QLinearConv": (4, 5),
    "com.microsoft::QLinearConv": (4, 5),
    "MatMulInteger": (None, 3),
    "QLinearMatMul": (4, 5),
    "com.microsoft::MatMulIntegerToFloat": (3, 5),
    "com.microsoft::DynamicQuantizeMatMul": (2, 3),
    "com.microsoft::QGemm": (4, 5),
}

#: Operators on constants that leave the values of weights as they are.
_MOVES = frozenset({"Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze"})

_LONGEST_CHAIN = 4


def quantized_use(scope: Scope, node: Any, operator: str, folder: Path) -> QuantizedUse | None:
    """How a node is quantized; None if it is no product, or computes in floating point.

    Args:
        folder: the model's folder, where external data lies.
    """
    operands = PRODUCT_OPERANDS.get(operator)
    if operands is None or len(node.input) <= max(operands):
        return None
    activation, weights = node.input[operands[0]], node.input[operands[1]]
    if operator == "com.microsoft::MatMulNBits":
        return _blocks(scope, node, activation)
    if operator in _INTEGER:
        scale, zero_point = _INTEGER[operator]
        return _integer(scope, node, operator, activation, weights, scale, zero_point, folder)
    return _between_qdq(scope, activation, weights, folder)


def _blocks(scope: Scope, node: Any, activation: str) -> QuantizedUse:
    """MatMulNBits: weights in blocks; accuracy_level 4 quantizes the activations to int8."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return QuantizedUse(
        activation_dtype=scope.value(activation).dtype,
        weight_dtype=f"uint{attributes.get('bits', 4)}",
        per_channel=True,
        dynamic=attributes.get("accuracy_level") == 4,
    )


def _integer(
    scope: Scope,
    node: Any,
    operator: str,
    activation: str,
    weights: str,
    scale: int | None,
    zero_point: int,
    folder: Path,
) -> QuantizedUse:
    source = scope.producer(activation)
    dynamic = operator.endswith("DynamicQuantizeMatMul") or (
        source is not None and source.op_type == "DynamicQuantizeLinear"
    )
    zero_name = node.input[zero_point] if len(node.input) > zero_point else ""
    scale_name = node.input[scale] if scale is not None and len(node.input) > scale else zero_name
    tensor = scope.tensor(weights)
    return QuantizedUse(
        activation_dtype="uint8"
        if operator.endswith("DynamicQuantizeMatMul")
        else scope.value(activation).dtype,
        weight_dtype=scope.value(weights).dtype if scope.constants(weights) is not None else None,
        per_channel=_is_vector(scope, scale_name),
        dynamic=dynamic,
        max_weight=largest_weight(tensor, scope.tensor(zero_name), folder),
    )


def _between_qdq(scope: Scope, activation: str, weights: str, folder: Path) -> QuantizedUse | None:
    before = _dequantize(scope, activation)
    behind = _dequantize(scope, weights) or folded_weights(scope, weights)
    if behind is None:
        return None
    stored = behind if scope.constants(behind.integers) is not None else None
    # With one integer operand of two, a product is computed in floating point.
    if before is None and stored is None:
        return None
    return QuantizedUse(
        activation_dtype=scope.value(before.integers if before is not None else activation).dtype,
        weight_dtype=None if stored is None else scope.value(stored.integers).dtype,
        per_channel=stored is not None and _is_vector(scope, stored.scale),
        dynamic=False,
        max_weight=None
        if stored is None
        else largest_weight(scope.tensor(stored.integers), scope.tensor(stored.zero_point), folder),
    )


class Stored(NamedTuple):
    """Names of integers, scale and zero point ('' where there is none)."""

    integers: str
    scale: str
    zero_point: str


def _dequantize(scope: Scope, name: str) -> Stored | None:
    """What the DequantizeLinear reads that a name comes from, seen through moves of constants."""
    for _ in range(_LONGEST_CHAIN):
        node = scope.producer(name)
        if node is None or not node.input:
            return None
        if node.op_type == "DequantizeLinear" and len(node.input) > 1:
            return Stored(node.input[0], node.input[1], [*node.input, ""][2])
        if node.op_type not in _MOVES or scope.constants(name) is None:
            return None
        name = node.input[0]
    return None


def folded_weights(scope: Scope, name: str) -> Stored | None:
    """Constant integers that are made reals by Cast, Sub and Mul, which runtimes fold on loading.

    Our own writing of 8-bit weights of convolutions: real = (Cast(integer) - zero point) * scale.
    """
    product = scope.producer(name)
    if product is None or product.op_type != "Mul" or scope.constants(name) is None:
        return None
    values, zero_point = product.input[0], ""
    inner = scope.producer(values)
    if inner is not None and inner.op_type == "Sub":
        values, zero_point = inner.input
        inner = scope.producer(values)
    if inner is None or inner.op_type != "Cast":
        return None
    integers = inner.input[0]
    if scope.value(integers).dtype not in ("int8", "uint8"):
        return None
    return Stored(integers, product.input[1], zero_point)


def _is_vector(scope: Scope, name: str) -> bool:
    shape = scope.value(name).shape if name else None
    return shape is not None and any(size != 1 for size in shape)
