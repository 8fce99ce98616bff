"""Values of constants in an ONNX file: external ones are mapped, not copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .onnx_file import dtype_name, external_location, external_range
from .onnx_scope import Scope
from .small_values import MOST_VALUES, Values, are_told, plain

#: Attributes of a Constant node that hold numbers, with the fields of onnx.AttributeProto.
_NUMBERS = {"value_int": "i", "value_ints": "ints", "value_float": "f", "value_floats": "floats"}

#: As onnx.TensorProto.EXTERNAL.
_EXTERNAL = 1

#: Values that are looked at in one step of a search for the largest.
_STEP = 1 << 20


def values(tensor: Any, folder: Path) -> Any | None:
    """A TensorProto's values as a NumPy array; flat if they are external, None if there are none.

    Args:
        folder: the model's folder, where external data lies.
    """
    import numpy as np

    if tensor.data_location == _EXTERNAL:
        offset, length = external_range(tensor)
        dtype = np.dtype(dtype_name(tensor.data_type))
        count = int(np.prod(tensor.dims)) if length is None else length // dtype.itemsize
        if count == 0:
            return None
        place = folder / external_location(tensor)
        return np.memmap(place, dtype=dtype, mode="r", offset=offset, shape=(count,))
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def small_values(scope: Scope, name: str, folder: Path) -> Values | None:
    """The values of a small constant; None of large ones and of what is not stored.

    Args:
        folder: the model's folder, where external data lies.
    """
    tensor = scope.tensor(name)
    if tensor is not None:
        if not are_told(dtype_name(tensor.data_type), tensor.dims):
            return None
        array = values(tensor, folder)
        return None if array is None else plain(array.reshape(-1).tolist())
    node = scope.producer(name)
    for attribute in node.attribute if node is not None else ():
        field = _NUMBERS.get(attribute.name)
        if field is not None:
            found = getattr(attribute, field)
            numbers = [found] if isinstance(found, int | float) else list(found)
            return plain(numbers) if 0 < len(numbers) <= MOST_VALUES else None
    return None


def largest_weight(tensor: Any | None, zero_point: Any | None, folder: Path) -> int | None:
    """The largest magnitude of 8-bit weights relative to their zero point.

    The search ends at one below the type's limit: more does not tell more.
    A zero point for each channel is taken as its first: they are equal in symmetric weights, and
    in others the largest magnitude is that of the type.
    """
    import numpy as np

    if tensor is None or dtype_name(tensor.data_type) not in ("int8", "uint8"):
        return None
    array = values(tensor, folder)
    if array is None or array.size == 0:
        return None
    zeros = values(zero_point, folder) if zero_point is not None else None
    zero = int(zeros.flat[0]) if zeros is not None and zeros.size else 0
    limits = np.iinfo(array.dtype)
    most = max(limits.max - zero, zero - limits.min)
    flat = array.reshape(-1)
    largest = 0
    for start in range(0, flat.size, _STEP):
        part = flat[start : start + _STEP]
        largest = max(largest, int(part.max()) - zero, zero - int(part.min()))
        # Of weights that fill their type, most of the file need not be read.
        if largest >= most - 1:
            break
    return largest
