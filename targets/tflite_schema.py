"""What reading TFLite's schema needs in several places: enumerations by value, texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def names_by_value(enumeration: type) -> dict[int, str]:
    """The names of a generated enumeration, e.g. of `schema.TensorType`."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def text(value: bytes | None) -> str:
    """A string of the file; what is no UTF-8 is replaced."""
    return (value or b"").decode("utf-8", errors="replace")


def numbers(read: Callable[[], Any]) -> tuple[Any, ...]:
    """A vector of the file by its generated `...AsNumpy`, which gives 0 where it is left out."""
    found = read()
    return () if isinstance(found, int) else tuple(found.tolist())
