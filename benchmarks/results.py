"""What the benchmark found, as values that go into its JSON file."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Literal

from pydantic import Field

from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.quantize.recipe import Recipe
from edgewright.profiler.result import Run
from edgewright.targets.abilities import saturates_u8s8
from edgewright.targets.load import load_target
from edgewright.targets.profile import Format, Model

_DISTRIBUTIONS = ("onnxruntime", "onnx", "ai-edge-litert", "litert-quantizer", "numpy", "torch")


class Machine(Model):
    """What the figures were measured on."""

    cpu: str
    architecture: str
    cores: int
    features: tuple[str, ...]
    ram_bytes: int
    system: str
    python: str
    versions: dict[str, str]
    load_1min: float = Field(description="before the benchmark began: other work on the machine")
    saturates: bool = Field(description="x86 without VNNI: fast kernels add U8S8 products in int16")

    @classmethod
    def here(cls) -> Machine:
        """The machine at hand."""
        host = load_target("host")
        return cls(
            cpu=host.cpu.soc,
            architecture=host.cpu.architecture,
            cores=host.cpu.core_count,
            features=tuple(sorted(host.cpu.features)),
            ram_bytes=host.memory.ram_bytes,
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            versions=_versions(),
            load_1min=os.getloadavg()[0],
            saturates=saturates_u8s8(host),
        )


class Timing(Model):
    """One artifact at one number of threads, beside the float model of the same format.

    Attributes:
        speedup: float's time / this one's: the median over rounds that alternated.
        interval: its 95% confidence interval.
        failure: why there is no run.
    """

    threads: int
    run: Run | None = None
    speedup: float | None = None
    interval: tuple[float, float] | None = None
    failure: str | None = None


class Row(Model):
    """One recipe on one example in one format.

    Attributes:
        planned: whether `--precision auto` tries it on this machine.
        evaluation: as this machine computes.
        exactly: with integers that do not saturate, as ARM and x86 with VNNI compute, or why it
            can't be judged; None where this machine does so, too.
        failure: why the artifact could not be made.
    """

    example: str
    format: Format
    name: str
    planned: bool
    recipe: Recipe | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    evaluation: Evaluation | None = None
    exactly: Evaluation | str | None = None
    timings: tuple[Timing, ...] = ()
    failure: str | None = None


class Skipped(Model):
    """An example that could not be measured in a format."""

    example: str
    format: Format
    reason: str


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    machine: Machine
    seconds: float
    threads: tuple[int, ...]
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
