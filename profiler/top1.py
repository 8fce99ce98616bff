"""Whether two sets of answers name the same class, and where they don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..exporters.artifact import Array
from .result import Top1Difference

#: So many differences are kept; the share counts all.
KEPT = 10


@dataclass(frozen=True)
class Top1:
    """Attributes:
    agreement: share of the rows whose greatest value stands at the same place, 0 to 1.
    differences: the first rows where it does not.
    """

    agreement: float
    differences: tuple[Top1Difference, ...]


def compare_top1(device: Sequence[Array], host: Sequence[Array]) -> Top1 | None:
    """Compares the places of the greatest values, row by row.

    A place counts as the same where the host's values there are equal, too: a tie has no first.

    Args:
        device, host: one output for each input, of the same shapes.

    Returns:
        None where the output is no row of scores: not [rows, classes] with two classes or more.
    """
    differences = []
    rows = 0
    for index, (found, expected) in enumerate(zip(device, host, strict=True)):
        if found.ndim != 2 or found.shape[1] < 2:
            return None
        for row, (a, b) in enumerate(zip(found, expected, strict=True)):
            rows += 1
            here, there = int(np.argmax(a)), int(np.argmax(b))
            if b[here] != b[there]:
                differences.append(Top1Difference(input=index, row=row, host=there, device=here))
    if not rows:
        return None
    return Top1(1 - len(differences) / rows, tuple(differences[:KEPT]))
