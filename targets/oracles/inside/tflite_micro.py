"""TFLite Micro with a model's tensors allocated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ....errors import UsageError
from .overhear import overheard, plain

#: Tried one after another: an arena is zeroed, and a large one takes its time.
_ARENAS = (1 << 20, 1 << 24, 1 << 28)

_SIZE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_MISSING = re.compile(r"Failed to get registration from op code (\w+)")
_REFUSED = re.compile(r"([^\n]*)\nNode (\w+) \(number (\d+)\) failed to prepare")
_NO_ROOM = re.compile(r"Failed to (?:allocate|resize|reserve)|Arena size is too small")


def allocated(path: str) -> dict[str, Any]:
    """For the sandbox: allocates a model's tensors.

    Returns:
        'total', the least arena that suffices (within a 64th), 'head' and 'tail', what stays
        allocated in it; or 'failure' in words, with 'missing', the operators without a kernel, and
        'refused', reason, operator and index of nodes.

    Raises:
        UsageError: the file is damaged.
    """
    data = Path(path).read_bytes()
    for size in _ARENAS:
        heard, enough = _tried(data, size)
        if enough or not _NO_ROOM.search(heard):
            break
    if not enough:
        return {
            "failure": plain(heard),
            "missing": _MISSING.findall(heard),
            "refused": [(plain(why), *node) for why, *node in _REFUSED.findall(heard)],
        }
    sizes = {part: int(size) for part, size in _SIZE.findall(heard)}
    if len(sizes) != 3:
        raise UsageError(f"TFLite Micro did not say how large the arena of {path} is")
    return {"failure": None, **sizes, "total": _least(data, sizes["total"], size)}


def _least(data: bytes, low: int, high: int) -> int:
    """The least arena: more than what stays, for preparing a node takes some that is given back."""
    step = max(16, low // 64)
    size = low
    while size < high and not _tried(data, size)[1]:
        low, size = size, size + step
        step *= 2
    # Of the sizes from `low`, which is too small unless it is `size`, to `size`, which is enough.
    grain = max(16, size // 64)
    while size - low > grain:
        middle = (low + size) // 32 * 16
        if _tried(data, middle)[1]:
            size = middle
        else:
            low = middle
    return min(size, high)


def _tried(data: bytes, size: int) -> tuple[str, bool]:
    """What the interpreter says with an arena of this size, and whether it is enough."""
    from tflite_micro.python.tflite_micro import runtime

    failure = ""
    with overheard() as heard:
        try:
            runtime.Interpreter.from_bytes(data, arena_size=size).print_allocations()
        except RuntimeError as error:
            failure = str(error)
    return heard[0] or failure, not failure
