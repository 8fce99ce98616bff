"""The project file: one model, its data, its budget and the devices it has to run on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from .errors import UsageError
from .exporters.images import ImagePreprocessing
from .exporters.metrics import METRICS
from .exporters.quantize.recipe import Precision
from .exporters.request import DataOptions
from .profiler.job import parse_cpus
from .profiler.result import Mode
from .targets.check_options import CheckOptions
from .targets.profile import Format, Model, RuntimeName
from .targets.toml_file import read_toml


class Data(Model):
    """What the model is calibrated and judged with."""

    calibration: str | None = None
    evaluation: str | None = None
    metric: str | None = Field(
        default=None,
        description="top1, top5, agreement, cosine, sqnr, mae, mse or FILE.py:FUNCTION",
    )
    scale: float | None = Field(
        default=None, description="factor for integer .npz arrays that feed a floating-point input"
    )
    images: ImagePreprocessing | None = None

    @field_validator("metric")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in METRICS and ":" not in value:
            raise ValueError(f"is one of {', '.join(METRICS)}, or FILE.py:FUNCTION")
        return value


class Budget(Model):
    """What a release may cost; a limit that is not given is not judged."""

    max_drop: float = Field(
        default=0.01, ge=0, description="in the metric's own unit: 0.01 of top1 is one point"
    )
    max_p90_ms: float | None = Field(default=None, gt=0)
    max_size_bytes: int | None = Field(default=None, gt=0)
    max_peak_rss_bytes: int | None = Field(default=None, gt=0)


class Profile(Model):
    """How devices are measured."""

    mode: Mode = "quick"
    threads: int = Field(default=1, ge=1)
    runtime: RuntimeName | None = None
    cpus: str | None = Field(
        default=None, description="the cores to keep to: big, little, or numbers like 0,2-3"
    )

    @field_validator("cpus")
    @classmethod
    def _are_cores(cls, value: str | None) -> str | None:
        try:
            parse_cpus(value)
        except UsageError as error:
            raise ValueError(f"{error.message}: {error.hint}") from error
        return value


class Check(Model):
    """What of the targets the model is for, where that is not what their profiles promise."""

    accelerator: str | None = Field(
        default=None, description="one of the targets' accelerators, or none for the CPU alone"
    )
    allow_fallback: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the multiply-accumulates that may stay on the CPU",
    )


class Project(Model):
    """`edgewright.toml`. Paths are relative to the file."""

    schema_version: Literal[1]
    source: str
    formats: tuple[Format, ...] = ()
    precisions: tuple[Precision, ...] = Field(
        default=(), description="empty: what the targets run fast"
    )
    layout: Literal["nchw", "nhwc"] | None = None
    targets: tuple[str, ...] = Field(default=("host",), min_length=1)
    devices: tuple[str, ...] = Field(default=("local",), min_length=1)
    data: Data = Field(default_factory=Data)
    budget: Budget = Field(default_factory=Budget)
    profile: Profile = Field(default_factory=Profile)
    check: Check = Field(default_factory=Check)

    @field_validator("formats", "precisions", "targets", "devices")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names something twice")
        return value

    @property
    def check_options(self) -> CheckOptions:
        """What the targets are checked for, as the exporters take it."""
        return CheckOptions(
            accelerator=self.check.accelerator, allow_fallback=self.check.allow_fallback
        )

    def data_options(self, base: Path) -> DataOptions:
        """The data as the exporters take it."""
        return DataOptions(
            calibration=self.data.calibration,
            evaluation=self.data.evaluation,
            base=base,
            preprocessing=self.data.images,
            scale=self.data.scale,
            metric=self.data.metric,
            max_drop=self.budget.max_drop,
        )


def read_project(path: Path) -> Project:
    """Reads a project file.

    Raises:
        UsageError: it is missing, or a key is wrong (file, key and line are named).
    """
    return read_toml(path, Project)


def told_beside(path: Path | None) -> tuple[Data, CheckOptions]:
    """What a project file says of data and checks, for commands that take the rest as options.

    Args:
        path: the file; None: there is none, and nothing is said.

    Raises:
        UsageError: as `read_project`.
    """
    if path is None:
        return Data(), CheckOptions()
    project = read_project(path)
    return project.data, project.check_options
