"""Sizes in words."""

from __future__ import annotations


def size_text(size: int, byte: str = "bytes") -> str:
    """A size in decimal units, to three digits.

    Args:
        byte: what the unit is called where there are fewer than 1000.
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} {byte}"
