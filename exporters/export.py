"""The first half of the way: from a source to quantized candidates, each one proven or not."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UsageError
from ..files import ensure_directory
from ..targets.abilities import saturates_u8s8
from ..targets.check import check
from ..targets.check_options import chosen_accelerator
from ..targets.facts import ModelFacts
from ..targets.inspect import inspect_model
from ..targets.profile import READS, Format, TargetProfile
from .artifact import Artifact, Port
from .candidate import Candidate, Export, Planned, Skipped, Status
from .convert import formats_for
from .data import Dataset, Sample
from .evaluate import Evaluation
from .examiner import Examiner
from .float_model import make_float_artifact
from .metrics import Metric, get_metric
from .quantize.apply import COMPARED_SAMPLES, calibrate, refuse_unfit
from .quantize.ladder import Ground, Rung, climb
from .quantize.plan import PlannedRecipe, plan, preference, recipe_for
from .quantize.recipe import Precision, Recipe
from .quantize.sensitivity import Sensitivity
from .quantize.statistics import Statistics
from .quantize.statistics_file import load as load_statistics
from .quantize.statistics_file import require_for
from .quantize.statistics_file import save as save_statistics
from .request import ExportRequest

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much); 0 of 0 where unknown."""


def export(
    request: ExportRequest, on_progress: OnProgress = lambda what, done, total: None
) -> Export:
    """Converts, quantizes, evaluates and checks.

    Raises:
        UsageError: the source, the data or the combination is wrong.
        ConversionError: the model can't be converted, or came out different.
    """
    metric = get_metric(request.data.metric, request.data.base) if request.data.metric else None
    formats = request.formats or (preferred_format(request),)
    _refuse_source(request, formats)
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
        parts = [
            _export_format(drafts, request.statistics_path(f), f, metric, on_progress)
            for f in formats
        ]
        candidates = tuple(_moved(c, request) for part in parts for c in part.candidates)
    return Export(
        candidates=candidates,
        chosen=_choose(candidates, request),
        skipped=tuple(s for part in parts for s in part.skipped),
        notes=tuple(dict.fromkeys(n for part in parts for n in part.notes)),
        comparison={f: part.samples for f, part in zip(formats, parts, strict=True)},
        sensitivities={f: part.sensitivities for f, part in zip(formats, parts, strict=True)},
        statistics=tuple(part.statistics for part in parts if part.statistics is not None),
    )


def plan_export(request: ExportRequest) -> list[Planned]:
    """What `export` would make: only the float model is converted, into the request's directory.

    Raises:
        UsageError, ConversionError: as `export` does up to there.
    """
    planned: list[Planned] = []
    for model_format in request.formats or (preferred_format(request),):
        reference, _ = make_float_artifact(
            request.source, model_format, request.directory,
            layout=request.layout, max_opset=request.max_opset,
        )  # fmt: skip
        facts = inspect_model(reference.path)
        can_calibrate = bool(request.data.calibration or request.data.statistics)
        steps = _planned(request, facts, can_calibrate)
        planned += [Planned(model_format, step) for step in steps]
    return planned


def _refuse_source(request: ExportRequest, formats: Sequence[Format]) -> None:
    """That no artifact's name leads (by a link) to the source.

    Raises:
        UsageError: one does.
    """
    if request.source.path is None or not request.directory.is_dir():
        return
    source, stem = request.source.path.resolve(), request.source.stem
    for file in request.directory.iterdir():
        is_one = file.name.startswith(f"{stem}.") and file.name != f"{stem}{file.suffix}"
        if is_one and file.suffix[1:] in formats and file.resolve() == source:
            raise UsageError(f"{file} is the source itself", hint="choose another -o DIR")


def _moved(candidate: Candidate, request: ExportRequest) -> Candidate:
    artifact = candidate.artifact
    final = request.directory / artifact.path.name
    artifact.path.replace(final)
    return replace(candidate, artifact=replace(artifact, path=final))


@dataclass
class _Part:
    """One format's part of an export."""

    samples: list[Sample]
    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sensitivities: tuple[Sensitivity, ...] = ()
    statistics: Path | None = None


def _export_format(
    request: ExportRequest,
    statistics_path: Path,
    model_format: Format,
    metric: Metric | None,
    on_progress: OnProgress,
) -> _Part:
    data = request.data
    on_progress(f"{model_format}: float32", 0, 0)

    def open_data(ports: tuple[Port, ...]) -> Dataset | None:
        return data.open(data.calibration or data.evaluation, ports)

    reference, (samples, words) = make_float_artifact(
        request.source, model_format, request.directory,
        layout=request.layout, max_opset=request.max_opset, open_data=open_data,
    )  # fmt: skip
    part = _Part(samples)
    evaluation = data.open(data.evaluation, reference.inputs)
    calibration = data.open(data.calibration, reference.inputs)
    if evaluation and calibration and evaluation.identity == calibration.identity:
        part.notes.append(
            "calibration and evaluation are the same data: the drop measured is too good"
        )
    if evaluation is not None:
        metric = metric or get_metric("top1" if evaluation.has_labels else "cosine")
        # What is wrong with the metric or the labels is told before calibration takes its time.
        Examiner(reference, evaluation.head(1), metric, data.max_drop)
    facts = inspect_model(reference.path)
    can_calibrate = calibration is not None or data.statistics is not None
    planned = _planned(request, facts, can_calibrate)
    recipes = [item.recipe for item in planned if item.recipe is not None]
    for recipe in recipes:
        if request.is_asked_by_name:
            refuse_unfit(recipe, model_format)
    statistics = None
    if any(recipe.needs_calibration for recipe in recipes):
        statistics = gather_statistics(
            request, reference, calibration, recipes, on_progress, statistics_path
        )
        if data.statistics is None:
            part.statistics = statistics_path
    if calibration is not None:
        compare = calibration.first(COMPARED_SAMPLES), calibration.description
    else:
        compare = samples, words
    examiner = None
    if evaluation is not None and metric is not None:
        examiner = Examiner(
            reference, evaluation, metric, data.max_drop,
            saturating=any(saturates_u8s8(target) for target in request.targets),
            on_sample=lambda n, of: on_progress(f"{model_format}: evaluating", n, of),
        )  # fmt: skip
    ground = Ground(
        reference, statistics, examiner, compare, request.directory, request.source.stem,
        strict=request.is_asked_by_name,
        on_progress=lambda what, n, of: on_progress(f"{model_format}: {what}", n, of),
    )  # fmt: skip
    climbed = climb(ground, planned)
    part.skipped += [Skipped(model_format, m.precision, m.reason) for m in climbed.missed]
    part.notes += climbed.notes
    part.sensitivities = climbed.sensitivities
    order = preference(facts)
    own = Rung(reference, None)
    for rung in (own, *climbed.rungs):
        evaluated = None
        if rung is own:
            evaluated = examiner.own if examiner else None
        elif rung.judgement is not None:
            evaluated = rung.judgement.evaluation
        part.candidates.append(_candidate(rung.artifact, evaluated, rung.note, order, request))
    return part


def gather_statistics(
    request: ExportRequest,
    reference: Artifact,
    calibration: Dataset | None,
    recipes: Sequence[Recipe],
    on_progress: OnProgress,
    destination: Path | None = None,
) -> Statistics:
    """Those of an earlier calibration, or of one that is made (or taken up again) now.

    Args:
        destination: where they are kept.

    Raises:
        UsageError: there are neither statistics nor data, or the statistics do not fit.
    """
    data = request.data
    covariances = any(recipe.needs_covariances for recipe in recipes)
    if data.statistics is not None:
        path = data.path_of(data.statistics)
        statistics = load_statistics(path)
        require_for(statistics, reference.sha256, path)
        if covariances and not statistics.has_covariances:
            raise UsageError(
                f"{path} has no covariances, which GPTQ needs",
                hint="calibrate with the recipe: --recipe NAME --calibration DATA",
            )
        return statistics
    if calibration is None:
        raise UsageError(
            f"{next(r.name for r in recipes if r.needs_calibration)} needs calibration data",
            hint="give --calibration DATA (100 typical inputs are enough to begin with), or "
            "--statistics of an earlier calibration",
        )
    made = calibrate(
        reference,
        calibration,
        covariances=covariances,
        checkpoint=destination,
        on_sample=lambda n, of: on_progress(f"{reference.format}: calibrating", n, of),
    )
    if destination is not None:
        save_statistics(made, destination)
    return made


def _planned(request: ExportRequest, facts: ModelFacts, can_calibrate: bool) -> list[PlannedRecipe]:
    """Distinct steps for all the targets, and what is left out with its reason."""
    if request.recipes:
        return [PlannedRecipe(r.precision, r, "asked for by name") for r in request.recipes]
    found: dict[tuple[str, str], PlannedRecipe] = {}
    for target in request.targets:
        for step in _planned_for(target, request, facts, can_calibrate):
            name = step.recipe.name if step.recipe else step.precision
            why = step.reason if len(request.targets) == 1 else f"{target.name}: {step.reason}"
            found.setdefault((name, step.step), replace(step, reason=why))
    made = {step.precision for step in found.values() if step.recipe}
    return [step for step in found.values() if step.recipe or step.precision not in made]


def _planned_for(
    target: TargetProfile, request: ExportRequest, facts: ModelFacts, can_calibrate: bool
) -> Sequence[PlannedRecipe]:
    accelerator = chosen_accelerator(target, request.checks.accelerator)
    if not request.precisions:
        return plan(target, facts, has_calibration=can_calibrate, accelerator=accelerator)
    return [
        PlannedRecipe(
            precision, recipe_for(precision, target, facts, accelerator), "asked for by name"
        )
        for precision in request.precisions
        if precision != "float32"
    ]


def _candidate(
    artifact: Artifact,
    evaluation: Evaluation | None,
    note: str,
    order: Sequence[Precision],
    request: ExportRequest,
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
        reason=f"{reason}; {note}" if note else reason,
        evaluation=evaluation,
        checks={t.name: check(facts, t, request.checks) for t in request.targets},
        preference=order.index(artifact.precision),
    )


def _choose(candidates: Sequence[Candidate], request: ExportRequest) -> Candidate | None:
    able = [c for c in candidates if c.compatible and c.status != "rolled back"]
    if not request.is_asked_by_name:
        able = [c for c in able if c.status == "kept"]
    return min(able, key=lambda c: c.preference, default=None)


def preferred_format(request: ExportRequest) -> Format:
    """What the first target's preferred runtime reads and the source can become.

    Raises:
        UsageError: there is no such format.
    """
    possible = formats_for(request.source.kind)
    target = request.targets[0]
    for runtime in target.runtimes:
        for model_format in possible:
            if READS[runtime.name] == model_format:
                return model_format
    raise UsageError(
        f"{target.name} runs {', '.join(r.name for r in target.runtimes)}, but "
        f"{request.source.spec} can only become {', '.join(possible)} so far",
        hint="start from the PyTorch or Keras model",
    )
