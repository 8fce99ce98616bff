"""The first half of the way: from a source to quantized candidates, each one proven or not."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..errors import ConversionError, UsageError
from ..files import ensure_directory
from ..targets.check import check
from ..targets.facts import ModelFacts
from ..targets.finding import CheckResult
from ..targets.inspect import inspect_model
from ..targets.profile import READERS, Format, TargetProfile
from .artifact import Artifact, Port, Precision
from .convert import formats_for
from .convert.base import Layout
from .data import Dataset, Sample, open_dataset
from .evaluate import Evaluation, evaluate, require_labels
from .float_model import make_float_artifact
from .images import ImagePreprocessing
from .metrics import Metric, get_metric
from .quantize.apply import COMPARED_SAMPLES, calibrate, quantize
from .quantize.calibrate import Statistics
from .quantize.plan import PlannedRecipe, plan, preference, recipe_for, saturates
from .quantize.recipe import Recipe
from .source import Source

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much); 0 of 0 where unknown."""


@dataclass(frozen=True)
class DataOptions:
    """What data there is and how to read it.

    Attributes:
        base: directory that relative paths start from; the current one by default.
        scale: factor for integer .npz arrays that feed a floating-point input.
        metric: None chooses top1 where there are labels, cosine where not.
        max_drop: drop allowed in the metric's own unit (0.01 of top1 is one point).
    """

    calibration: str | None = None
    evaluation: str | None = None
    base: Path | None = None
    preprocessing: ImagePreprocessing | None = None
    scale: float | None = None
    metric: str | None = None
    max_drop: float = 0.01

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
    """

    source: Source
    targets: tuple[TargetProfile, ...]
    directory: Path
    formats: tuple[Format, ...] = ()
    precisions: tuple[Precision, ...] = ()
    layout: Layout | None = None
    data: DataOptions = field(default_factory=DataOptions)


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
    """One precision before anything is made.

    Attributes:
        recipe: None where the precision would not be tried.
    """

    format: Format
    precision: Precision
    recipe: Recipe | None
    reason: str


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Attributes:
        chosen: the candidate expected to be fastest among those kept (or asked for by name).
        comparison: float artifacts' reference samples by format, which travel to the device.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    comparison: dict[Format, list[Sample]]

    @property
    def float_artifacts(self) -> dict[Format, Artifact]:
        return {
            c.artifact.format: c.artifact
            for c in self.candidates
            if c.artifact.precision == "float32"
        }


def export(
    request: ExportRequest, on_progress: OnProgress = lambda what, done, total: None
) -> Export:
    """Converts, quantizes, evaluates and checks.

    Raises:
        UsageError: the source, the data or the combination is wrong.
        ConversionError: the model can't be converted, or came out different.
    """
    metric = get_metric(request.data.metric, request.data.base) if request.data.metric else None
    formats = request.formats or (_preferred_format(request),)
    is_new = not request.directory.exists()
    ensure_directory(request.directory)
    try:
        return _export_into(request, formats, metric, on_progress)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                request.directory.rmdir()
        raise


def _export_into(
    request: ExportRequest,
    formats: Sequence[Format],
    metric: Metric | None,
    on_progress: OnProgress,
) -> Export:
    with tempfile.TemporaryDirectory(prefix=".edgewright-", dir=request.directory) as scratch:
        # All of it or nothing: what fails half-way leaves no artifact behind.
        drafts = replace(request, directory=Path(scratch))
        parts = [_export_format(drafts, f, metric, on_progress) for f in formats]
        candidates = tuple(_moved(c, request) for part in parts for c in part.candidates)
    return Export(
        candidates=candidates,
        chosen=_choose(candidates, request),
        skipped=tuple(s for part in parts for s in part.skipped),
        notes=tuple(dict.fromkeys(n for part in parts for n in part.notes)),
        comparison={f: part.samples for f, part in zip(formats, parts, strict=True)},
    )


def plan_export(request: ExportRequest) -> list[Planned]:
    """What `export` would make: only the float model is converted, into the request's directory.

    Raises:
        UsageError, ConversionError: as `export` does up to there.
    """
    planned = []
    for model_format in request.formats or (_preferred_format(request),):
        reference, _ = make_float_artifact(
            request.source, model_format, request.directory, layout=request.layout
        )
        facts = inspect_model(reference.path)
        planned += _planned(request, facts, request.data.calibration is not None)
    return planned


def _moved(candidate: Candidate, request: ExportRequest) -> Candidate:
    artifact = candidate.artifact
    final = request.directory / artifact.path.name
    if request.source.path is not None and final.resolve() == request.source.path.resolve():
        raise UsageError(f"{final} is the source itself", hint="choose another -o DIR")
    artifact.path.replace(final)
    return replace(candidate, artifact=replace(artifact, path=final))


@dataclass
class _Part:
    """One format's part of an export."""

    samples: list[Sample]
    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _export_format(
    request: ExportRequest, model_format: Format, metric: Metric | None, on_progress: OnProgress
) -> _Part:
    data = request.data
    on_progress(f"{model_format}: float32", 0, 0)

    def open_data(ports: tuple[Port, ...]) -> Dataset | None:
        return data.open(data.calibration or data.evaluation, ports)

    reference, (samples, words) = make_float_artifact(
        request.source, model_format, request.directory, layout=request.layout, open_data=open_data
    )
    part = _Part(samples)
    evaluation = data.open(data.evaluation, reference.inputs)
    calibration = data.open(data.calibration, reference.inputs)
    if evaluation and calibration and evaluation.identity == calibration.identity:
        part.notes.append(
            "calibration and evaluation are the same data: the drop measured is too good"
        )
    if evaluation is not None:
        metric = metric or get_metric("top1" if evaluation.has_labels else "cosine")
        require_labels(metric, evaluation)
    facts = inspect_model(reference.path)
    planned = _planned(request, facts, calibration is not None)
    recipes = [item.recipe for item in planned if item.recipe is not None]
    part.skipped += [
        Skipped(item.format, item.precision, item.reason) for item in planned if not item.recipe
    ]
    statistics = None
    if any(recipe.needs_calibration for recipe in recipes):
        if calibration is None:
            raise UsageError(
                "static INT8 needs calibration data",
                hint="give --calibration DATA (100 typical inputs are enough to begin with)",
            )
        statistics = calibrate(
            reference,
            calibration,
            lambda done, total: on_progress(f"{model_format}: calibrating", done, total),
        )
        compare = calibration.first(COMPARED_SAMPLES), calibration.description
    else:
        compare = samples, words
    artifacts = [reference]
    for recipe in recipes:
        on_progress(f"{model_format}: {recipe.name}", 0, 0)
        made = _quantized(request, reference, recipe, statistics, compare, part)
        if made is not None:
            artifacts.append(made)
    evaluations: Sequence[Evaluation | None] = [None] * len(artifacts)
    if evaluation is not None and metric is not None:
        evaluations = evaluate(
            reference, artifacts[1:], evaluation, metric, data.max_drop,
            on_sample=lambda n, of: on_progress(f"{model_format}: evaluating", n, of),
            saturating=any(saturates(target) for target in request.targets),
        )  # fmt: skip
    order = preference(facts)
    for artifact, evaluated in zip(artifacts, evaluations, strict=True):
        part.candidates.append(_candidate(artifact, evaluated, order, request.targets))
    return part


def _planned(request: ExportRequest, facts: ModelFacts, has_calibration: bool) -> list[Planned]:
    """Distinct recipes for all the targets, and what is left out with its reason."""
    found: dict[str, Planned] = {}
    for target in request.targets:
        for item in _planned_for(target, request, facts, has_calibration):
            name = item.recipe.name if item.recipe else item.precision
            why = item.reason if len(request.targets) == 1 else f"{target.name}: {item.reason}"
            found.setdefault(name, Planned(facts.format, item.precision, item.recipe, why))
    made = {item.precision for item in found.values() if item.recipe}
    return [item for item in found.values() if item.recipe or item.precision not in made]


def _planned_for(
    target: TargetProfile, request: ExportRequest, facts: ModelFacts, has_calibration: bool
) -> Sequence[PlannedRecipe]:
    if not request.precisions:
        return plan(target, facts, has_calibration=has_calibration)
    return [
        PlannedRecipe(precision, recipe_for(precision, target, facts), "asked for by name")
        for precision in request.precisions
        if precision != "float32"
    ]


def _quantized(
    request: ExportRequest,
    reference: Artifact,
    recipe: Recipe,
    statistics: Statistics | None,
    compare: tuple[list[Sample], str],
    part: _Part,
) -> Artifact | None:
    destination = request.directory / f"{request.source.stem}.{recipe.name}.{recipe.format}"
    try:
        return quantize(reference, recipe, statistics, compare, destination)
    except (ConversionError, UsageError) as error:
        if request.precisions:
            raise
        # 'auto' goes on with the other rungs; the reason is kept.
        part.skipped.append(Skipped(recipe.format, recipe.precision, error.message))
        return None


def _candidate(
    artifact: Artifact,
    evaluation: Evaluation | None,
    order: Sequence[Precision],
    targets: Sequence[TargetProfile],
) -> Candidate:
    facts = inspect_model(artifact.path)
    status: Status
    if artifact.precision == "float32":
        status, reason = "kept", "the float model"
    elif evaluation is None:
        status, reason = "unproven", "no evaluation data to prove its accuracy with"
    elif evaluation.verdict == "proven":
        status, reason = "kept", evaluation.reason
    else:
        status, reason = "rolled back", evaluation.reason
    return Candidate(
        artifact=artifact,
        status=status,
        reason=reason,
        evaluation=evaluation,
        checks={target.name: check(facts, target) for target in targets},
        preference=order.index(artifact.precision),
    )


def _choose(candidates: Sequence[Candidate], request: ExportRequest) -> Candidate | None:
    able = [c for c in candidates if c.compatible and c.status != "rolled back"]
    if not request.precisions:
        able = [c for c in able if c.status == "kept"]
    return min(able, key=lambda c: c.preference, default=None)


def _preferred_format(request: ExportRequest) -> Format:
    possible = formats_for(request.source.kind)
    target = request.targets[0]
    for runtime in target.runtimes:
        for model_format in possible:
            if runtime.name in READERS[model_format]:
                return model_format
    raise UsageError(
        f"{target.name} runs {', '.join(r.name for r in target.runtimes)}, but "
        f"{request.source.spec} can only become {', '.join(possible)} so far",
        hint="start from the PyTorch or Keras model",
    )
