"""The example models of this repository, as the benchmarks take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.convert import formats_for
from edgewright.exporters.data import Dataset
from edgewright.exporters.float_model import make_float_artifact
from edgewright.exporters.metrics import Metric, get_metric
from edgewright.exporters.request import DataOptions
from edgewright.exporters.source import parse_source
from edgewright.project import read_project
from edgewright.targets.profile import Format

_FOLDER = Path(__file__).resolve().parent.parent / "examples"

#: Each example, and the metric that shows best what a precision does to it.
METRICS = {
    "fashion-mnist": "top1",
    "efficientnet-lite0": "agreement",
    "minilm": "cosine",
    "stories15m": "nll",
}


@dataclass(frozen=True)
class Prepared:
    """One example in one format, ready to be quantized and judged."""

    name: str
    float_artifact: Artifact
    calibration: Dataset
    evaluation: Dataset
    metric: Metric


def formats_of(name: str) -> tuple[Format, ...]:
    """The formats that an example can have."""
    base = _FOLDER / name
    return formats_for(parse_source(read_project(base / "edgewright.toml").source, base).kind)


def prepare(name: str, model_format: Format, images: Path | None, directory: Path) -> Prepared:
    """Converts an example and opens its data.

    Args:
        images: folder with `calibration` and `evaluation`, for examples that want pictures.
        directory: where the float artifact is written.

    Raises:
        UsageError: the example wants pictures and there are none, or its packages are missing.
    """
    base = _FOLDER / name
    project = read_project(base / "edgewright.toml")
    data = project.data_options(base)
    if project.data.images is not None:
        data = _with_pictures(data, name, images)
    source = parse_source(project.source, base)
    artifact, _ = make_float_artifact(
        source,
        model_format,
        directory,
        layout=project.layout,
        open_data=lambda ports: data.open(data.calibration, ports),
    )
    calibration = data.open(data.calibration, artifact.inputs)
    evaluation = data.open(data.evaluation, artifact.inputs)
    assert calibration is not None and evaluation is not None
    return Prepared(name, artifact, calibration, evaluation, get_metric(METRICS[name]))


def _with_pictures(data: DataOptions, name: str, images: Path | None) -> DataOptions:
    if images is None:
        raise UsageError(
            f"{name} needs pictures",
            hint="give --images DIR with the folders calibration and evaluation "
            f"(examples/{name}/README.md)",
        )
    return replace(
        data,
        calibration=str((images / "calibration").resolve()),
        evaluation=str((images / "evaluation").resolve()),
    )
