"""Conditions of a support table on the dimensions that a node works along."""

from __future__ import annotations

from collections.abc import Iterator

from .axes import axes_of
from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule


def of_axes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    wanted = rule.axes
    if wanted is None:
        return
    along = axes_of(case)
    if along is None:
        yield Doubt(None, "the dimensions that it works along are unknown")
        return
    rank = len(along.shape)
    for axis in sorted(along.axes):
        names = {axis, axis - rank}
        if wanted.one_of is not None and names.isdisjoint(wanted.one_of):
            takes = " or ".join(map(str, wanted.one_of))
            yield _refused(axis, rank, f"it takes {takes}")
        elif not names.isdisjoint(wanted.none_of):
            others = " and ".join(map(str, wanted.none_of))
            yield _refused(axis, rank, f"it takes all but {others}")
    if wanted.leading and along.axes:
        before = along.shape[: max(along.axes)]
        if any(size is not None and size > 1 for size in before):
            yield Doubt(
                "axis-not-supported", "dimensions before those that it works along are not 1"
            )
        elif None in before:
            yield Doubt(None, "whether the dimensions before are 1 is unknown")


def _refused(axis: int, rank: int, takes: str) -> Doubt:
    return Doubt("axis-not-supported", f"along dimension {axis} of {rank}; {takes}")
