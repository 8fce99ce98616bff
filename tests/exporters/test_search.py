"""The search for mixed precision, on nets whose guilty layers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizing import PER_TENSOR, Ready, spoilt_net

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.examiner import Examiner, Judgement
from edgewright.exporters.quantize import search as search_module
from edgewright.exporters.quantize.apply import quantize
from edgewright.exporters.quantize.screen import Screened
from edgewright.exporters.quantize.search import Found, MixedSearch
from edgewright.exporters.quantize.sensitivity import Sensitivity, WeightDistribution


def searched(ready: Ready, folder: Path) -> tuple[Found, Artifact, Judgement]:
    compare_on = ready.samples, "rows"
    whole = quantize(ready.model, PER_TENSOR, ready.statistics, compare_on, folder / "whole.onnx")
    judgement = ready.examiner.judge(whole)
    scratch = folder / "scratch"
    scratch.mkdir()
    search = MixedSearch(
        ready.model, whole, judgement, ready.statistics, ready.examiner, ready.samples, scratch
    )
    return search.run(), whole, judgement


def integer_products(model: Artifact) -> set[str]:
    """Matrix products whose weights are integers in the file."""
    graph = onnx.load(str(model.path)).graph
    integers = {
        node.output[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in {t.name for t in graph.initializer}
    }
    return {n.name for n in graph.node if n.op_type == "MatMul" and set(n.input) & integers}


def test_just_the_layer_that_hurts_stays_float(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 6, [3]), tmp_path)
    found, whole, judgement = searched(ready, tmp_path)
    assert judgement.evaluation.verdict == "exceeds"
    assert found.layers == ("layer3",)
    assert found.artifact is not None and found.judgement is not None
    assert found.judgement.evaluation.verdict == "proven"
    assert found.judgement.evaluation.interval is not None
    assert found.judgement.evaluation.interval[1] <= 3e-3
    assert len(integer_products(whole)) == 6
    assert len(integer_products(found.artifact)) == 5
    # The first candidate was right, and one layer alone is not taken back.
    assert found.tried == 1
    # What is left in scratch is what was found.
    assert list((tmp_path / "scratch").iterdir()) == [found.artifact.path]
    effects = {each.name: each.effect_db for each in found.sensitivities}
    assert max(effects, key=lambda name: effects[name] or -1e9) == "layer3"


def test_several_guilty_layers_are_found_in_few_candidates(tmp_path: Path) -> None:
    guilty = [1, 4, 6]
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 8, guilty), tmp_path)
    found, _, _ = searched(ready, tmp_path)
    assert found.judgement is not None and found.judgement.evaluation.verdict == "proven"
    assert set(found.layers) >= {f"layer{n}" for n in guilty} and len(found.layers) == 3
    assert found.artifact is not None and found.artifact.recipe is not None
    assert found.artifact.recipe.name == "per-tensor-mixed"
    assert found.artifact.precision == "int8"
    assert found.tried <= 12


def test_a_lost_candidate_is_dropped_before_all_samples_are_run(tmp_path: Path) -> None:
    model = spoilt_net(tmp_path / "net.onnx", 6, [1, 4])
    ready = Ready(model, tmp_path, evaluated=200)
    found, _, _ = searched(ready, tmp_path)
    assert found.layers and set(found.layers) >= {"layer1", "layer4"}
    # `told` has one run of each candidate after the other, each beginning at 1.
    counts = [
        n for (n, _), (m, _) in zip(ready.told, [*ready.told[1:], (1, 0)], strict=True) if m == 1
    ]
    of_candidates = counts[2:]  # the float model, and the whole model in INT8
    assert len(of_candidates) == found.tried
    assert min(of_candidates) < 50 and max(of_candidates) == 200


def test_nothing_is_calibrated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 4, [2]), tmp_path)

    def again(*arguments: object, **options: object) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr("edgewright.exporters.quantize.apply.collect", again)
    assert searched(ready, tmp_path)[0].layers == ("layer2",)


def test_no_mixture_is_proven(tmp_path: Path) -> None:
    """Nothing lost at all is allowed: all but one layer in float still lose something."""
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 4, [2]), tmp_path, max_drop=1e-12)
    found, _, _ = searched(ready, tmp_path)
    assert found.artifact is None and found.judgement is None and found.layers == ()
    assert found.tried == 3  # 1, 2 and 3 layers of 4
    assert len(found.sensitivities) == 4
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_model_with_one_layer_has_no_mixture(tmp_path: Path) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 1, [0]), tmp_path)
    found, _, _ = searched(ready, tmp_path)
    assert found.artifact is None and [each.name for each in found.sensitivities] == ["layer0"]


def test_a_full_disk_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 4, [2]), tmp_path)

    def full(*arguments: object, **options: object) -> Artifact:
        raise UsageError("can't write it: no space left") from OSError(28, "no space left")

    monkeypatch.setattr(search_module, "quantize", full)
    with pytest.raises(UsageError, match="no space left"):
        searched(ready, tmp_path)


# The order of trying, against every possible judge


class _Judge(MixedSearch):
    """A search in which a set of layers is proven where it holds all that are guilty."""

    def __init__(self, guilty: frozenset[str]) -> None:
        self._guilty = guilty
        self.asked: list[frozenset[str]] = []

    def _is_proven(self, layers: object) -> bool:
        assert isinstance(layers, list | tuple)
        self.asked.append(frozenset(layers))
        return self._guilty <= frozenset(layers)

    def kept(self, order: list[str], known: list[Sensitivity]) -> list[str] | None:
        fewest = self._fewest(order)
        return None if fewest is None else self._without_needless(fewest, known)


def known_layers(count: int) -> list[Sensitivity]:
    plain = WeightDistribution(-1, 1, 3.0, 4, 0)
    return [
        Sensitivity(f"l{n}", "Conv", plain, Screened(30.0 + n, 30.0), effect_db=count - n, cost=1.1)
        for n in range(count)
    ]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 60), st.data())
def test_what_is_kept_is_proven_and_short(count: int, data: st.DataObject) -> None:
    places = st.integers(0, count - 1)
    guilty = frozenset(f"l{n}" for n in data.draw(st.sets(places, min_size=1, max_size=5)))
    known = known_layers(count)
    order = [each.name for each in known]
    judge = _Judge(guilty)
    kept = judge.kept(order, known)
    if not guilty <= set(order[:-1]):
        assert kept is None  # all in float is no mixture
        return
    assert kept is not None and guilty <= set(kept)
    assert kept == [name for name in order if name in kept]
    beginning = max(order.index(name) for name in guilty) + 1
    assert len(kept) <= beginning
    assert len(judge.asked) <= 2 * np.log2(count) + 3 + search_module._MAX_TAKEN_BACK
    if len(judge.asked) < search_module._MAX_TAKEN_BACK:
        assert set(kept) == guilty


def test_needless_layers_are_taken_back() -> None:
    known = known_layers(20)
    judge = _Judge(frozenset({"l0", "l11"}))
    assert judge.kept([each.name for each in known], known) == ["l0", "l11"]


def test_the_same_set_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready(spoilt_net(tmp_path / "net.onnx", 6, [1, 4]), tmp_path)
    names: list[frozenset[str]] = []
    judge = Examiner.judge

    def counted(self: Examiner, candidate: Artifact, **options: object) -> Judgement:
        assert candidate.recipe is not None
        names.append(frozenset(r.scope for r in candidate.recipe.rules if r.scheme is None))
        return judge(self, candidate, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Examiner, "judge", counted)
    found, _, _ = searched(ready, tmp_path)
    assert len(names) == len(set(names)) == found.tried + 1
