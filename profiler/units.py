"""Quantities in words for people."""

from __future__ import annotations

from ..targets import sizes


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1000; 'B' is short enough for tables."""
    return sizes.size_text(size, "B")


def time_text(ms: float) -> str:
    """Milliseconds for people, to three digits."""
    return f"{ms:#.3g}" if ms < 99.95 else f"{ms:.0f}"


def count_text(count: int) -> str:
    """A large count for people."""
    value = float(count)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} G"
