"""Damage to files: what bad disks, broken downloads and hostile people make of them."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Little-endian words that offsets and lengths go wrong at.
_INTERESTING = [
    value.to_bytes(width, "little")
    for width in (1, 2, 4, 8)
    for value in {
        0,
        1,
        0x7F,
        0x80,
        (1 << (8 * width)) - 1,
        1 << (8 * width - 1),
        (1 << (8 * width - 1)) - 1,
        (1 << min(30, 8 * width - 2)),
    }
    if value < 1 << (8 * width)
]


def mutate(random_source: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four kinds of damage to a file; `other` is what it may be spliced with."""
    result = bytearray(data)
    for _ in range(random_source.choice((1, 1, 1, 2, 4))):
        damage = random_source.choice(_DAMAGE)
        damage(random_source, result, other)
        if not result:
            break
    return bytes(result)


def _place(source: random.Random, data: bytearray) -> int:
    """Mostly where the structure lies: formats keep it at either end, weights in between."""
    size = len(data)
    kind = source.random()
    if kind < 0.4:
        return source.randrange(min(size, 4096))
    if kind < 0.7:
        return size - 1 - source.randrange(min(size, 16384))
    return source.randrange(size)


def _flip(source: random.Random, data: bytearray, _: bytes) -> None:
    for _ in range(source.choice((1, 2, 8, 64))):
        data[_place(source, data)] ^= 1 << source.randrange(8)


def _truncate(source: random.Random, data: bytearray, _: bytes) -> None:
    del data[_place(source, data) :]


def _delete(source: random.Random, data: bytearray, _: bytes) -> None:
    start = _place(source, data)
    del data[start : start + source.choice((1, 4, 16, 256))]


def _duplicate(source: random.Random, data: bytearray, _: bytes) -> None:
    start, end = _place(source, data), _place(source, data)
    data[end:end] = data[start : start + source.choice((1, 4, 16, 256, 4096))]


def _fill(source: random.Random, data: bytearray, _: bytes) -> None:
    start = _place(source, data)
    end = min(len(data), start + source.choice((1, 4, 16, 256)))
    data[start:end] = source.choice((b"\xff", b"\x00")) * (end - start)


def _overwrite(source: random.Random, data: bytearray, _: bytes) -> None:
    start = _place(source, data)
    word = source.choice(_INTERESTING)
    data[start : start + len(word)] = word


def _attack_length(source: random.Random, data: bytearray, _: bytes) -> None:
    """Changes what could be an offset or a vector's length: an aligned word below the size."""
    first = _place(source, data) & ~3
    for start in range(first, min(first + 256, len(data) - 3), 4):
        value = int.from_bytes(data[start : start + 4], "little")
        if 0 < value < len(data):
            changed = source.choice(
                (value - 1, value + 1, value * 2, value << 16, len(data), -value, 1 << 30)
            )
            data[start : start + 4] = (changed & 0xFFFFFFFF).to_bytes(4, "little")
            return


def _splice(source: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(source, data)
    data[start:] = other[_place(source, bytearray(other)) :]


_DAMAGE: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip,
    _truncate,
    _delete,
    _duplicate,
    _fill,
    _overwrite,
    _attack_length,
    _attack_length,
    _splice,
)
