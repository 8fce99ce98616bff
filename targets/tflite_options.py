"""The options of a TFLite node as attributes, named as in schema.fbs ('stride_w').

The generated classes say which options there are, so that none is named here one by one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from .facts import Attribute
from .tflite_schema import names_by_value, text

#: Options that hold values of an enumeration of the schema, with its name.
_ENUMERATIONS = {
    "algorithm": "RngAlgorithm",
    "combiner": "CombinerType",
    "compare_type": "StablehloComparisonType",
    "comparison_direction": "StablehloComparisonDirection",
    "fused_activation_function": "ActivationFunctionType",
    "idx_out_type": "TensorType",
    "in_data_type": "TensorType",
    "kernel_type": "LSTMKernelType",
    "key_dtype": "TensorType",
    "mode": "MirrorPadMode",
    "out_data_type": "TensorType",
    "out_type": "TensorType",
    "output_type": "TensorType",
    "padding": "Padding",
    "quantized_bias_type": "TensorType",
    "reduce_function": "ReduceWindowFunction",
    "type": "LSHProjectionType",
    "value_dtype": "TensorType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
}

#: Options that hold positions of subgraphs which the node runs.
_SUBGRAPHS = re.compile(r"(_subgraph_(index|indices)|^subgraph|^called_computations)$")


def read_attributes(node: Any, schema: Any) -> dict[str, Attribute]:
    """The builtin options of a node; of a custom operator the size of its own.

    Enumerations are given by name, binary values by their size ('96 bytes').
    """
    attributes: dict[str, Attribute] = {}
    for kind, read, union in (
        (node.BuiltinOptionsType(), node.BuiltinOptions, schema.BuiltinOptions),
        (node.BuiltinOptions2Type(), node.BuiltinOptions2, schema.BuiltinOptions2),
    ):
        table = read() if kind else None
        options = getattr(schema, f"{names_by_value(union).get(kind)}T", None)
        if table is not None and options is not None:
            values = vars(options.InitFromBuf(table.Bytes, table.Pos))
            for camel, value in values.items():
                name = _snake_case(camel)
                plain = _plain(name, value, schema)
                if plain is not None:
                    attributes[name] = plain
    custom = node.CustomOptionsLength() or node.LargeCustomOptionsSize()
    if custom:
        attributes["custom_options"] = f"{custom} bytes"
    return attributes


def subgraphs_run(attributes: dict[str, Attribute]) -> tuple[int, ...]:
    """Positions of the subgraphs that a node with these attributes runs."""
    found: list[int] = []
    for name, value in attributes.items():
        if _SUBGRAPHS.search(name):
            values = value if isinstance(value, tuple) else (value,)
            found += [position for position in values if isinstance(position, int)]
    return tuple(found)


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower().rstrip("_")


def _plain(name: str, value: Any, schema: Any) -> Attribute | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        enumeration = _ENUMERATIONS.get(name)
        if enumeration is None:
            return value
        return names_by_value(getattr(schema, enumeration)).get(value, str(value))
    if value.dtype.itemsize == 1 and value.dtype.kind == "u":
        return f"{value.nbytes} bytes"
    return tuple(value.tolist())
