"""Names and widths of element types, the same for both formats (NumPy's and ml_dtypes' names)."""

from __future__ import annotations

from collections.abc import Sequence

#: Bits of one element; types of no fixed width (strings, resources) are not here.
BITS: dict[str, int] = {
    "float64": 64,
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
    "complex64": 64,
    "complex128": 128,
    "bool": 8,
    "resource": 0,
    **{f"{sign}int{bits}": bits for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
}

#: Types that a CPU computes in floating point.
FLOATS = frozenset(name for name in BITS if name.startswith(("float", "bfloat")))


def tensor_bytes(dtype: str, shape: Sequence[int | None] | None) -> int | None:
    """Bytes of a tensor, packed; None where a dimension or the width is unknown."""
    bits = BITS.get(dtype)
    if bits is None or shape is None:
        return None
    count = 1
    for size in shape:
        if size is None:
            return None
        count *= size
    return (count * bits + 7) // 8


def elements(shape: Sequence[int | None] | None) -> int | None:
    """How many elements a tensor has; None where a dimension is unknown."""
    return tensor_bytes("int8", shape)
