"""The ladder: order, rollback with its reason, and what it does when a rung breaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import artifact, conv_net, sha256
from onnx import numpy_helper
from quantizing import PER_TENSOR, Ready, spoilt_net, uneven_net

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.quantize import ladder as ladder_module
from edgewright.exporters.quantize.apply import quantize
from edgewright.exporters.quantize.ladder import Climb, Ground, climb
from edgewright.exporters.quantize.plan import RANGE_METHODS, PlannedRecipe, Step
from edgewright.exporters.quantize.recipe import RangeMethod, Recipe, Rule, Scheme
from edgewright.exporters.quantize.recipes import RECIPES

STATIC = RECIPES["int8-u8s8"].recipe
FLOAT16 = RECIPES["float16"].recipe
DYNAMIC = RECIPES["int8-dynamic"].recipe
INT4 = RECIPES["int4-b32"].recipe
ALL = (Rule(scheme=Scheme(weights="int8", activations="uint8", granularity="per-tensor")),)
EVERYTHING = Recipe(name="everything", rules=ALL)


def step(
    recipe: Recipe, kind: Step = "apply", ranges: tuple[RangeMethod, ...] = ()
) -> PlannedRecipe:
    return PlannedRecipe(recipe.precision, recipe, "to see", kind, ranges)


def ladder(recipe: Recipe) -> list[PlannedRecipe]:
    return [step(recipe), step(recipe, "correct"), step(recipe, "search")]


def climbed(
    ready: Ready, folder: Path, steps: list[PlannedRecipe], *, strict: bool = False,
    evaluate: bool = True,
) -> Climb:  # fmt: skip
    directory = folder / "out"
    directory.mkdir()
    ground = Ground(
        ready.model, ready.statistics, ready.examiner if evaluate else None,
        (ready.samples, "rows"), directory, "net", strict=strict,
    )  # fmt: skip
    found = climb(ground, steps)
    # Nothing but what became a rung is left, and each under its name.
    left = {path.name for path in directory.iterdir()}
    assert left == {rung.artifact.path.name for rung in found.rungs}
    for rung in found.rungs:
        assert rung.artifact.sha256 == sha256(rung.artifact.path)
    return found


def names(found: Climb) -> list[str]:
    return [rung.artifact.name for rung in found.rungs]


def test_rungs_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    left_out = PlannedRecipe("float16", None, "no FP16 arithmetic")
    found = climbed(
        ready, tmp_path, [left_out, step(FLOAT16), step(DYNAMIC), *ladder(STATIC), step(INT4)]
    )
    assert names(found) == [
        "onnx/float16", "onnx/int8-dynamic", "onnx/int8-u8s8", "onnx/int4-b32",
    ]  # fmt: skip
    # INT8 is proven, so that neither corrections nor a search are needed; INT4 is tried anyway.
    assert [(m.precision, m.reason) for m in found.missed] == [("float16", "no FP16 arithmetic")]
    assert found.notes == [] and found.sensitivities == ()
    verdicts = [r.judgement.evaluation.verdict for r in found.rungs if r.judgement]
    assert verdicts == ["proven", "proven", "proven", "exceeds"]
    assert found.rungs[-1].judgement is not None
    reason = found.rungs[-1].judgement.evaluation.reason
    assert "is beyond 0.003" in reason and "\n" not in reason
    assert [rung.proven for rung in found.rungs] == [True, True, True, False]


def test_the_way_to_find_ranges_is_the_one_with_the_best_answers(tmp_path: Path) -> None:
    ready = Ready(artifact(conv_net(tmp_path / "net.onnx")), tmp_path)
    found = climbed(ready, tmp_path, [step(STATIC, ranges=RANGE_METHODS)])
    levels = {}
    for method in RANGE_METHODS:
        scheme = STATIC.rules[0].scheme
        assert scheme is not None
        one = Scheme.model_validate({**scheme.model_dump(), "ranges": method.model_dump()})
        made = quantize(
            ready.model, STATIC.model_copy(update={"rules": (Rule(scheme=one),)}),
            ready.statistics, (ready.samples, ""), tmp_path / "one.onnx",
        )  # fmt: skip
        levels[method.name] = made.differences[0].sqnr_db or 0.0
    best = max(levels, key=lambda name: levels[name])
    assert len(set(levels.values())) > 1
    (rung,) = found.rungs
    assert rung.note == f"ranges by {best}, the best of 6 ways ({levels[best]:.1f} dB)"
    assert rung.artifact.recipe is not None and rung.artifact.recipe.name == "int8-u8s8"
    (scheme,) = rung.artifact.recipe.schemes
    assert scheme.ranges is not None and scheme.ranges.name == best


def test_corrections_are_made_where_no_int8_is_proven(tmp_path: Path) -> None:
    """A net that equalization saves, under a recipe with one scale for each weight."""
    ready = Ready(uneven_net(tmp_path / "net.onnx"), tmp_path)
    found = climbed(ready, tmp_path, ladder(EVERYTHING))
    assert names(found) == ["onnx/everything", "onnx/everything-corrected"]
    plain, corrected = found.rungs
    assert not plain.proven and corrected.proven
    assert corrected.artifact.recipe is not None and corrected.artifact.recipe.equalization
    assert corrected.note.startswith("with ") and "equalization" in corrected.note
    assert corrected.note.endswith("dB")
    # The corrected one is proven: no search.
    assert found.missed == [] and found.sensitivities == ()


def test_corrections_that_gain_nothing_are_told_and_removed(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 4, [2], outlier=1e6), tmp_path)
    found = climbed(ready, tmp_path, [step(PER_TENSOR), step(PER_TENSOR, "correct")])
    assert names(found) == ["onnx/per-tensor"]
    (missed,) = found.missed
    assert missed.precision == "int8"
    assert missed.reason.startswith("bias correction and equalization gain nothing here (at best")


def test_mixed_precision_is_searched_last_and_says_what_it_kept(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 5, [2]), tmp_path)
    found = climbed(ready, tmp_path, ladder(PER_TENSOR))
    plain, mixed = found.rungs[0], found.rungs[-1]
    assert not plain.proven and mixed.proven
    assert mixed.artifact.recipe is not None and mixed.artifact.recipe.name.endswith("-mixed")
    assert mixed.note.startswith("1 of 5 layers in float (layer2), the fewest found in ")
    assert len(found.sensitivities) == 5
    # What was judged is what was kept: the file is made again, and must be the same.
    assert mixed.judgement is not None and mixed.judgement.evaluation.score is not None
    again = ready.examiner.judge(mixed.artifact)
    assert np.array_equal(again.drops, mixed.judgement.drops)


def test_no_mixture_is_said_with_the_number_tried(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, [1]), tmp_path, max_drop=1e-12)
    found = climbed(ready, tmp_path, [step(PER_TENSOR), step(PER_TENSOR, "search")])
    assert names(found) == ["onnx/per-tensor"]
    (missed,) = found.missed
    assert missed.reason == "no mixture with float layers is proven (2 candidates tried)"


def test_too_few_samples_are_said_and_nothing_is_searched(tmp_path: Path) -> None:
    ready = Ready(
        spoilt_net(tmp_path / "net.onnx", 3, [1]), tmp_path, metric="agreement", max_drop=0.01,
        evaluated=30,
    )  # fmt: skip
    found = climbed(ready, tmp_path, [step(PER_TENSOR), step(PER_TENSOR, "search")])
    (note,) = found.notes
    assert "30 samples can't prove a drop within 0.01" in note and "or more" in note
    assert [m.reason for m in found.missed] == [
        "no mixed precision is searched where no candidate could be proven"
    ]
    assert found.sensitivities == ()


def test_without_evaluation_nothing_is_proven_or_mended(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, [1]), tmp_path)
    found = climbed(ready, tmp_path, ladder(PER_TENSOR), evaluate=False)
    assert names(found) == ["onnx/per-tensor"]
    assert found.rungs[0].judgement is None and not found.rungs[0].proven


# What breaks


def test_a_rung_that_cannot_be_made_does_not_end_the_climb(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    nowhere = Recipe(name="nowhere", rules=(Rule(scope="no such", scheme=Scheme(weights="int8")),))
    found = climbed(ready, tmp_path, [step(nowhere), step(FLOAT16)])
    assert names(found) == ["onnx/float16"]
    assert [m.reason for m in found.missed] == ["recipe nowhere matches no operator of the model"]


def test_asked_by_name_it_does(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    nowhere = Recipe(name="nowhere", rules=(Rule(scope="no such", scheme=Scheme(weights="int8")),))
    with pytest.raises(UsageError, match="nowhere matches no operator"):
        climbed(ready, tmp_path, [step(nowhere), step(FLOAT16)], strict=True)


def test_a_rule_without_a_match_is_noted_only_where_the_user_wrote_it(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    for strict, folder in ((False, tmp_path / "plan"), (True, tmp_path / "user")):
        folder.mkdir()
        found = climbed(ready, folder, [step(INT4)], strict=strict)
        assert names(found) == ["onnx/int4-b32"]
        assert len(found.notes) == strict
    assert "rule 2 of recipe int4-b32" in found.notes[0]


def test_a_full_disk_ends_the_climb_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    tried: list[str] = []

    def full(reference: Artifact, recipe: Recipe, *rest: object) -> Artifact:
        tried.append(recipe.name)
        raise UsageError("can't write it: no space left") from OSError(28, "no space left")

    monkeypatch.setattr(ladder_module, "quantize", full)
    with pytest.raises(UsageError, match="no space left"):
        climbed(ready, tmp_path, [step(FLOAT16), step(DYNAMIC)])
    assert tried == ["float16"]


def test_one_way_to_find_ranges_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 3, []), tmp_path)
    made = ladder_module.quantize

    def sometimes(reference: Artifact, recipe: Recipe, *rest: object) -> Artifact:
        ranges = recipe.schemes[0].ranges
        if ranges is not None and ranges.method == "percentile":
            raise ConversionError("output y of the model made has NaN or Inf")
        return made(reference, recipe, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ladder_module, "quantize", sometimes)
    found = climbed(ready, tmp_path, [step(PER_TENSOR, ranges=RANGE_METHODS)])
    assert names(found) == ["onnx/per-tensor"]
    assert "percentile" not in found.rungs[0].note


def test_a_model_of_nothing_but_zeros(tmp_path: Path) -> None:
    """Outputs without power have no SQNR; every rung is as good as float."""
    model = spoilt_net(tmp_path / "net.onnx", 1, [], outlier=0)
    loaded = onnx.load(str(model.path))
    for tensor in loaded.graph.initializer:
        if tensor.name == "w0":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((32, 10), np.float32), "w0"))
    onnx.save(loaded, str(model.path))
    ready = Ready(artifact(model.path), tmp_path, evaluated=30, metric="agreement")
    found = climbed(ready, tmp_path, ladder(PER_TENSOR))
    for rung in found.rungs:
        assert "nan" not in rung.note and "inf" not in rung.note
    assert names(found) == ["onnx/per-tensor"]
