"""Values of small constants as facts: axes, permutations, paddings, bounds, zero points.

What the layer does depends on them as on its attributes; weights are never among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .dtypes import elements

#: Values that are told; a constant that has more is told by its size alone.
MOST_VALUES = 16

Values = tuple[int, ...] | tuple[float, ...]

#: NumPy's codes of the types that are told, in the byte order of both formats.
_CODES = {
    "bool": "?",
    **{f"{sign}int{8 * size}": f"<{code}{size}" for sign, code in (("", "i"), ("u", "u"))
       for size in (1, 2, 4, 8)},
    **{f"float{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}  # fmt: skip


def are_told(dtype: str, shape: Iterable[int | None]) -> bool:
    """Whether a constant of this type and shape is told with its values."""
    count = elements(tuple(shape))
    return dtype in _CODES and count is not None and 0 < count <= MOST_VALUES


def unpacked(content: Any, dtype: str, shape: tuple[int, ...]) -> Values | None:
    """The values that bytes of a file hold; None if they are not told.

    Args:
        content: at least as many bytes as the values take.
    """
    if not are_told(dtype, shape):
        return None
    import numpy as np

    return plain(np.frombuffer(content, _CODES[dtype], elements(shape) or 0).tolist())


def plain(values: Iterable[int | float]) -> Values | None:
    """Values as facts: truth as 0 and 1; None where one is not finite."""
    found = tuple(values)
    if all(isinstance(value, int) for value in found):
        return tuple(int(value) for value in found)
    numbers = tuple(float(value) for value in found)
    return numbers if all(map(math.isfinite, numbers)) else None
