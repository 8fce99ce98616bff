"""The ladder with what it cost to run each rung, and which of them nothing else beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..exporters.candidate import Export
from .gate import Judged
from .result import Run


@dataclass(frozen=True)
class Quantization:
    """Where the ladder led.

    Attributes:
        judged: each rung with its runs.
        chosen: name of the candidate; None where none is proven.
        why: of the choice.
        device: address of what measured.
        is_target: whether that is a device like the first target; its times are not the target's
            where it is not.
    """

    export: Export
    judged: tuple[Judged, ...]
    chosen: str | None
    why: tuple[str, ...]
    device: str
    is_target: bool
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for j in self.judged for run in j.runs.values() if isinstance(run, Run)]


def pareto(judged: Sequence[Judged]) -> set[str]:
    """Names of those that none of the others beats in drop, size and time at once.

    Times and drops that were not measured count as infinite, so that what is known wins.
    """
    points = {item.candidate.name: _point(item) for item in judged if not item.candidate.is_broken}
    return {
        name
        for name, own in points.items()
        if not any(
            other != own and all(x <= y for x, y in zip(other, own, strict=True))
            for other in points.values()
        )
    }


def _point(item: Judged) -> tuple[float, float, float]:
    evaluation = item.candidate.evaluation
    drop = float("inf") if evaluation is None or evaluation.drop is None else evaluation.drop
    return drop, float(item.candidate.artifact.size_bytes), item.p50_ms
