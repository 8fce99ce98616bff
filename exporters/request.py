"""What to export, for which devices and with which data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..targets.check_options import CheckOptions
from ..targets.opsets import max_opset
from ..targets.profile import Format, TargetProfile
from .artifact import Port
from .convert.base import Layout
from .data import Dataset, open_dataset
from .images import ImagePreprocessing
from .quantize.recipe import Precision, Recipe
from .source import Source


@dataclass(frozen=True)
class DataOptions:
    """What data there is and how to read it.

    Attributes:
        statistics: file of an earlier calibration, in place of calibration data.
        base: directory that relative paths start from; the current one by default.
        scale: factor for integer .npz arrays that feed a floating-point input.
        metric: None chooses top1 where there are labels, cosine where not.
        max_drop: drop allowed in the metric's own unit (0.01 of top1 is one point).
    """

    calibration: str | None = None
    evaluation: str | None = None
    statistics: str | None = None
    base: Path | None = None
    preprocessing: ImagePreprocessing | None = None
    scale: float | None = None
    metric: str | None = None
    max_drop: float = 0.01

    def path_of(self, name: str) -> Path:
        """A file that the user named."""
        return Path(name) if self.base is None else self.base / name

    def open(self, spec: str | None, ports: Sequence[Port]) -> Dataset | None:
        """The data that `spec` names, or None where it names none."""
        if spec is None:
            return None
        return open_dataset(
            spec, ports, base=self.base, preprocessing=self.preprocessing, scale=self.scale
        )


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        targets: devices it is for; static schemes follow the first.
        formats: empty chooses the one that the first target's preferred runtime reads.
        precisions: empty is 'auto': what the devices run fast.
        recipes: in place of precisions, just these.
        checks: which of the targets' runtimes and accelerators it is for.
        statistics_file: where calibration keeps what it saw; by default in the directory.
    """

    source: Source
    targets: tuple[TargetProfile, ...]
    directory: Path
    formats: tuple[Format, ...] = ()
    precisions: tuple[Precision, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    layout: Layout | None = None
    data: DataOptions = field(default_factory=DataOptions)
    checks: CheckOptions = field(default_factory=CheckOptions)
    statistics_file: Path | None = None

    @property
    def is_asked_by_name(self) -> bool:
        """Whether the user says what to make, so that what can't be made is an error."""
        return bool(self.precisions or self.recipes)

    @property
    def max_opset(self) -> int | None:
        """The newest ONNX operator set that every target takes; None where none sets a limit."""
        found = [max_opset(target, self.checks) for target in self.targets]
        return min((opset for opset in found if opset is not None), default=None)

    def statistics_path(self, model_format: Format) -> Path:
        """Where calibration keeps what it saw of the model in this format."""
        name = f"{self.source.stem}.{model_format}.statistics.npz"
        return self.statistics_file or self.directory / name
