"""Quantities in words for people."""

from __future__ import annotations


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1000."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


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
