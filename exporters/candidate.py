"""What an export came to: artifacts with what is known of them before they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..targets.finding import CheckResult
from ..targets.profile import Format
from .artifact import Artifact
from .data import Sample
from .evaluate import Evaluation
from .quantize.plan import PlannedRecipe
from .quantize.recipe import Precision
from .quantize.sensitivity import Sensitivity

Status = Literal["kept", "rolled back", "unproven"]


@dataclass(frozen=True)
class Candidate:
    """An artifact and what is known of it before it is measured.

    Attributes:
        status: 'kept' where its accuracy is proven (the float model always is), 'rolled back'
            where it is not, 'unproven' where there were no data to judge it.
        checks: for each target by name.
        preference: place in the order of expected speed; 0 is expected to be the fastest.
    """

    artifact: Artifact
    status: Status
    reason: str
    evaluation: Evaluation | None
    checks: dict[str, CheckResult]
    preference: int

    @property
    def name(self) -> str:
        return self.artifact.name

    @property
    def is_broken(self) -> bool:
        """Whether it gives no answers that could be judged."""
        return self.evaluation is not None and self.evaluation.verdict == "broken"

    @property
    def compatible(self) -> bool:
        return all(result.compatible for result in self.checks.values())


@dataclass(frozen=True)
class Skipped:
    """A precision that was not tried, or could not be made."""

    format: Format
    precision: Precision
    reason: str


@dataclass(frozen=True)
class Planned:
    """One step of the ladder before anything is made.

    Attributes:
        step: its recipe is None where it would not be taken.
    """

    format: Format
    step: PlannedRecipe


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Attributes:
        chosen: the candidate expected to be fastest among those kept (or asked for by name).
        comparison: float artifacts' reference samples by format, which travel to the device.
        sensitivities: of all layers by format, where mixed precision was searched.
        statistics: files of what calibration saw.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    comparison: dict[Format, list[Sample]]
    sensitivities: dict[Format, tuple[Sensitivity, ...]]
    statistics: tuple[Path, ...]

    @property
    def float_artifacts(self) -> dict[Format, Artifact]:
        return {
            c.artifact.format: c.artifact
            for c in self.candidates
            if c.artifact.precision == "float32"
        }
