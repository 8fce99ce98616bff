"""What memory a runtime sets aside for a model's tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArenaFacts:
    """What the interpreter sets aside before the first inference.

    Attributes:
        arena_bytes: for activations and the kernels' scratch memory.
        kept_bytes: for what outlives an inference: variable tensors, and weights that are stored
            smaller than they are computed with (float of FP16, dense of sparse). Resource
            variables (VAR_HANDLE) get their memory when they are first assigned to.
        whole: whether that is all; not where tensors have a size that only running tells.
        said_by: the runtime that was asked, with its version.
    """

    arena_bytes: int
    kept_bytes: int
    whole: bool
    said_by: str
