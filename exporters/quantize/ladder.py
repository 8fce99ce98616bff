"""The ladder: each rung made, proven or rolled back, with the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import ConversionError, UsageError
from ..artifact import Artifact
from ..data import Sample
from ..examiner import Examiner, Judgement
from .apply import is_of_the_disk, quantize, unmatched
from .layers import short_names
from .plan import PlannedRecipe, with_ranges
from .recipe import Precision, Recipe
from .search import MixedSearch
from .sensitivity import Sensitivity, lowest_db
from .statistics import Statistics

#: Bias correction and equalization have to gain this much SQNR to make a rung of their own.
_MIN_GAIN_DB = 0.1

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rung:
    """What came of one step.

    Attributes:
        judgement: None where there were no data to judge by.
        note: how it was chosen among its like; empty where there was nothing to choose.
    """

    artifact: Artifact
    judgement: Judgement | None
    note: str = ""

    @property
    def proven(self) -> bool:
        return self.judgement is not None and self.judgement.evaluation.verdict == "proven"


@dataclass(frozen=True)
class Missed:
    """A step that was not taken, or came to nothing."""

    precision: Precision
    reason: str


@dataclass(frozen=True)
class Ground:
    """What a climb starts from.

    Attributes:
        statistics: for recipes that need calibration.
        examiner: None where there are no data to prove anything with.
        samples: inputs (of the calibration data, where there are any) on which candidates of one
            rung are compared, with words for them.
        directory: where artifacts are written, named after `stem`.
        strict: whether a recipe that can't be applied is an error; a reason otherwise.
    """

    reference: Artifact
    statistics: Statistics | None
    examiner: Examiner | None
    samples: tuple[list[Sample], str]
    directory: Path
    stem: str
    strict: bool = False
    on_progress: OnProgress = lambda what, done, total: None


@dataclass
class Climb:
    """Where a climb got to.

    Attributes:
        sensitivities: of all the layers, where mixed precision was searched.
    """

    ground: Ground
    rungs: list[Rung] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sensitivities: tuple[Sensitivity, ...] = ()


def climb(ground: Ground, planned: Sequence[PlannedRecipe]) -> Climb:
    """Takes the steps of a plan in their order.

    Raises:
        UsageError, ConversionError: a step can't be taken, and the ground is strict.
    """
    state = Climb(ground)
    lacking = ground.examiner.samples_lacking if ground.examiner else None
    if lacking is not None:
        state.notes.append(lacking)
    for step in planned:
        if step.recipe is None:
            state.missed.append(Missed(step.precision, step.reason))
            continue
        try:
            _STEPS[step.step](state, step, step.recipe)
        except (ConversionError, UsageError) as error:
            if ground.strict or is_of_the_disk(error):
                raise
            state.missed.append(Missed(step.precision, error.message))
    return state


def _apply(state: Climb, step: PlannedRecipe, recipe: Recipe) -> None:
    if state.ground.strict:
        # Recipes of the plan also have rules for operators that this model happens not to have.
        notes = unmatched(recipe, state.ground.reference)
        if len(notes) == len(recipe.rules):
            raise UsageError(
                f"recipe {recipe.name} matches no operator of the model", hint="; ".join(notes)
            )
        state.notes += notes
    variants = [with_ranges(recipe, ranges) for ranges in step.ranges] or [recipe]
    artifact, level = _best(state.ground, variants)
    note = ""
    if len(variants) > 1:
        assert artifact.recipe is not None
        ranges = next(s.ranges for s in artifact.recipe.schemes if s.ranges is not None)
        note = f"ranges by {ranges.name}, the best of {len(variants)} ways ({_told(level)})"
    _add(state, artifact, note)


def _correct(state: Climb, step: PlannedRecipe, recipe: Recipe) -> None:
    base = _base(state, recipe)
    if base is None:
        return
    assert base.artifact.recipe is not None
    name = f"{recipe.name}-corrected"
    variants = [
        base.artifact.recipe.model_copy(
            update={"name": name, "bias_correction": bias, "equalization": equal}
        )
        for bias, equal in ((True, False), (False, True), (True, True))
    ]
    artifact, level = _best(state.ground, variants)
    gain = level - _level(base.artifact)
    if gain < _MIN_GAIN_DB:
        artifact.path.unlink()
        why = f"bias correction and equalization gain nothing here (at best {gain:+.1f} dB)"
        state.missed.append(Missed(step.precision, why))
        return
    assert artifact.recipe is not None
    done = [
        word
        for word, is_done in (
            ("bias correction", artifact.recipe.bias_correction),
            ("equalization", artifact.recipe.equalization),
        )
        if is_done
    ]
    _add(state, artifact, f"with {' and '.join(done)}: {gain:+.1f} dB")


def _search(state: Climb, step: PlannedRecipe, recipe: Recipe) -> None:
    base = _base(state, recipe)
    if base is None:
        return
    ground = state.ground
    assert base.judgement is not None and ground.examiner is not None
    if ground.examiner.samples_lacking is not None:
        why = "no mixed precision is searched where no candidate could be proven"
        state.missed.append(Missed(step.precision, why))
        return
    with tempfile.TemporaryDirectory(dir=ground.directory, prefix=".search-") as scratch:
        found = MixedSearch(
            ground.reference, base.artifact, base.judgement, ground.statistics, ground.examiner,
            ground.samples[0], Path(scratch), ground.on_progress,
        ).run()  # fmt: skip
    state.sensitivities = found.sensitivities
    if found.artifact is None or found.judgement is None:
        why = f"no mixture with float layers is proven ({found.tried} candidates tried)"
        state.missed.append(Missed(step.precision, why))
        return
    assert found.artifact.recipe is not None
    final = _make(ground, found.artifact.recipe)
    short = short_names([each.name for each in found.sensitivities])
    kept = ", ".join(short[name] for name in found.layers[:3]) + (
        " ..." if len(found.layers) > 3 else ""
    )
    total = sum(1 for each in found.sensitivities if each.screened is not None)
    note = (
        f"{len(found.layers)} of {total} layers in float ({kept}), "
        f"the fewest found in {found.tried} candidates"
    )
    state.rungs.append(Rung(final, found.judgement, note))


_STEPS: dict[str, Callable[[Climb, PlannedRecipe, Recipe], None]] = {
    "apply": _apply,
    "correct": _correct,
    "search": _search,
}


def _base(state: Climb, recipe: Recipe) -> Rung | None:
    """The best rung of this recipe so far; None where nothing has to be mended, or can be."""
    if any(r.proven and r.artifact.precision in ("int8", "int8-dynamic") for r in state.rungs):
        return None
    names = (recipe.name, f"{recipe.name}-corrected")
    rungs = [
        rung
        for rung in state.rungs
        if rung.artifact.recipe is not None
        and rung.artifact.recipe.name in names
        and rung.judgement is not None
    ]
    return max(rungs, key=lambda rung: _level(rung.artifact), default=None)


def _best(ground: Ground, variants: Sequence[Recipe]) -> tuple[Artifact, float]:
    """The variant whose outputs are nearest to the float model's; the others are removed.

    Raises:
        UsageError, ConversionError: none of them can be made.
    """
    made: list[Artifact] = []
    with tempfile.TemporaryDirectory(dir=ground.directory, prefix=".variants-") as scratch:
        for number, recipe in enumerate(variants):
            ground.on_progress(recipe.name, number, len(variants) if len(variants) > 1 else 0)
            path = Path(scratch) / f"{number}.{ground.reference.format}"
            try:
                made.append(
                    quantize(ground.reference, recipe, ground.statistics, ground.samples, path)
                )
            except (ConversionError, UsageError) as error:
                is_last = number == len(variants) - 1
                if is_of_the_disk(error) or (is_last and not made):
                    raise
        best = max(made, key=_level)
        return _moved(ground, best), _level(best)


def _make(ground: Ground, recipe: Recipe) -> Artifact:
    return _best(ground, [recipe])[0]


def _moved(ground: Ground, artifact: Artifact) -> Artifact:
    assert artifact.recipe is not None
    final = ground.directory / f"{ground.stem}.{artifact.recipe.name}.{artifact.format}"
    artifact.path.replace(final)
    return replace(artifact, path=final)


def _add(state: Climb, artifact: Artifact, note: str) -> None:
    examiner = state.ground.examiner
    state.ground.on_progress(f"{artifact.name}: evaluating", 0, 0)
    state.rungs.append(Rung(artifact, examiner.judge(artifact) if examiner else None, note))


def _level(artifact: Artifact) -> float:
    return lowest_db(artifact.differences)


def _told(level: float) -> str:
    return f"{level:.1f} dB"
