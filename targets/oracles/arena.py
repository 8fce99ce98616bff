"""Asks LiteRT's interpreter what memory it sets aside for a TFLite model's tensors.

The interpreter plans one arena for each subgraph when its tensors are allocated, and nothing is
run for that. It does not tell the arena's size, but where each tensor lies.
"""

from __future__ import annotations

from pathlib import Path

from ..arena_facts import ArenaFacts
from .asking import ask

_TIMEOUT_S = 60.0


def arena_of(path: Path) -> ArenaFacts:
    """The memory that LiteRT's CPU kernels, without delegates, take for a TFLite file's tensors.

    Open dimensions count as 1, as they do where nobody resizes the inputs.

    Raises:
        CannotSay: LiteRT is not installed, or refuses the model; the message says why.
    """
    found = ask(
        "arena:measure",
        str(path),
        timeout_s=_TIMEOUT_S,
        what=f"allocating the tensors of {path.name}",
    )
    return ArenaFacts(**found)
