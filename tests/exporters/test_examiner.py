"""Candidates against their float model."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import (
    GOLDEN,
    TINY_TFLITE,
    artifact,
    elementwise_net,
    gather_past_the_end,
    normal,
    port,
    save_onnx,
)
from onnx import helper

from edgewright.errors import UsageError
from edgewright.exporters import examiner
from edgewright.exporters.artifact import Artifact, Port
from edgewright.exporters.data import Dataset, Sample, open_dataset
from edgewright.exporters.evaluate import Evaluation
from edgewright.exporters.examiner import Examiner
from edgewright.exporters.metrics import METRICS, get_metric
from edgewright.exporters.paired import binary_interval

COUNT = 60


def identity(path: Path) -> Artifact:
    return artifact(elementwise_net(path, "Identity"))


def data(directory: Path, labels: object = None, count: int = COUNT) -> Dataset:
    """Random rows; the identity's top-1 is their largest column."""
    return rows(directory, np.stack(normal(0, count, 10)), labels)


def rows(directory: Path, values: np.ndarray, labels: object = None) -> Dataset:
    given = {} if labels is None else {"labels": np.asarray(labels)}
    np.savez(directory / "rows.npz", x=values.astype(np.float32), **given)  # type: ignore[arg-type]
    return open_dataset(str(directory / "rows.npz"), [port(1, values.shape[1])])


def best(directory: Path) -> np.ndarray:
    data(directory)
    with np.load(directory / "rows.npz") as archive:
        found: np.ndarray = archive["x"].argmax(axis=1)
    return found


def judged(
    directory: Path, candidate: Artifact, metric: str, max_drop: float | None, labels: object = None
) -> Evaluation:
    reference = identity(directory / "float.onnx")
    bench = Examiner(reference, data(directory, labels), METRICS[metric], max_drop)
    own, other = bench.own, bench.judge(candidate).evaluation
    assert own.verdict == "reference" and own.drop == 0 and own.interval is None
    assert own.samples == other.samples == bench.samples == COUNT
    assert own.score == own.float_score == other.float_score
    return other


def test_the_same_answers_are_proven_within_what_the_samples_can_show(tmp_path: Path) -> None:
    labels = best(tmp_path)
    labels[:15] = (labels[:15] + 1) % 10  # the float model is right three times in four
    same = identity(tmp_path / "same.onnx")
    found = judged(tmp_path, same, "top1", 0.07, labels)
    assert (found.score, found.float_score, found.drop) == (0.75, 0.75, 0)
    assert found.interval == binary_interval([1] * COUNT, [1] * COUNT)
    assert found.verdict == "proven" and "within 0.07" in found.reason
    assert found.sqnr_db is None and found.cosine == 1


def test_too_little_data_is_undecided_and_says_how_much_is_needed(tmp_path: Path) -> None:
    found = judged(tmp_path, identity(tmp_path / "same.onnx"), "top1", 0.01, best(tmp_path))
    assert found.verdict == "undecided"
    needed = re.search(r"needs about (\d+) samples", found.reason)
    assert needed is not None
    # 3.84 / (n + 3.84) reaches 0.01 at n = 380; the square-root rule asks for more.
    assert 380 <= int(needed.group(1)) <= 3000


def test_the_worse_exceeds(tmp_path: Path) -> None:
    negated = artifact(elementwise_net(tmp_path / "neg.onnx", "Neg"))
    found = judged(tmp_path, negated, "top1", 0.05, best(tmp_path))
    assert (found.score, found.float_score, found.drop) == (0, 1, 1)
    assert found.verdict == "exceeds" and "beyond 0.05" in found.reason
    assert found.cosine == pytest.approx(-1)
    assert found.sqnr_db == pytest.approx(10 * np.log10(1 / 4))


def test_metrics_without_labels_are_against_the_float_model(tmp_path: Path) -> None:
    scaled = artifact(elementwise_net(tmp_path / "scaled.onnx", "Mul", 1.01))
    found = judged(tmp_path, scaled, "sqnr", 0.001)
    assert found.verdict == "proven"
    assert found.drop == pytest.approx(1e-4, rel=1e-3)
    assert found.sqnr_db == pytest.approx(40, abs=0.01)
    assert judged(tmp_path, scaled, "agreement", 0.07).score == 1
    assert judged(tmp_path, scaled, "sqnr", 5e-5).verdict == "exceeds"
    assert judged(tmp_path, scaled, "cosine", None).verdict == "undecided"


def test_integers_are_held_against_reals(tmp_path: Path) -> None:
    """An INT8 model takes and gives integers; the data and the metric are of real values."""
    quantized = artifact(GOLDEN / "tiny_int8.tflite")
    reference = artifact(TINY_TFLITE)
    (taken,), (given,) = reference.inputs, reference.outputs
    quantized = replace(
        quantized,
        inputs=(Port(taken.source_name, quantized.inputs[0].spec),),
        outputs=(Port(given.source_name, quantized.outputs[0].spec),),
    )
    arrays: dict[str, Any] = {taken.source_name: np.stack(normal(1, 24, 8, 8, 3))}
    np.savez(tmp_path / "pictures.npz", **arrays)
    pictures = open_dataset(str(tmp_path / "pictures.npz"), reference.inputs)
    found = Examiner(reference, pictures, METRICS["sqnr"], 0.1).judge(quantized).evaluation
    assert found.verdict == "proven"
    assert found.sqnr_db is not None and found.sqnr_db > 15
    assert found.cosine is not None and found.cosine > 0.98


# What the data can show


@pytest.mark.parametrize("max_drop", [0.2, 0.07, 0.06, 0.05, 0.013, 0.002])
def test_how_many_samples_an_identical_model_takes(tmp_path: Path, max_drop: float) -> None:
    same = identity(tmp_path / "float.onnx")
    bench = Examiner(same, data(tmp_path, best(tmp_path)), METRICS["top1"], max_drop)
    found, lacking = bench.judge(same).evaluation, bench.samples_lacking
    assert (lacking is None) == (found.verdict == "proven")
    if lacking is None:
        return
    told = re.fullmatch(
        rf"60 samples can't prove a drop within {max_drop}, not even of an identical model: "
        r"it takes (\d+) or more",
        lacking,
    )
    assert told is not None
    needed = int(told.group(1))
    for count, proves in ((needed + 1, True), (needed - 1, False)):
        assert (binary_interval([1] * count, [1] * count)[1] <= max_drop) == proves


def test_how_many_samples_a_mean_takes(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")

    def lacking(count: int, max_drop: float | None) -> str | None:
        return Examiner(
            same, data(tmp_path, count=count), METRICS["sqnr"], max_drop
        ).samples_lacking

    assert lacking(20, 0.0) is None and lacking(20, 0.01) is None
    told = lacking(19, 0.01)
    assert told is not None and told.startswith("19 samples can't") and "takes 20 or more" in told
    assert lacking(60, None) == "no allowed drop was stated"


def test_no_number_of_samples_proves_that_no_answer_is_lost(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")
    bench = Examiner(same, data(tmp_path, best(tmp_path)), METRICS["top1"], 0)
    assert bench.samples_lacking == "no number of samples proves that nothing at all is lost"
    assert bench.judge(same).evaluation.verdict == "undecided"


# Broken candidates and the user's mistakes


def test_a_broken_candidate_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    root = artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt"))  # NaN below zero
    failing = artifact(gather_past_the_end(tmp_path / "failing.onnx"))
    told: list[tuple[int, int]] = []
    bench = Examiner(
        identity(tmp_path / "float.onnx"),
        data(tmp_path, best(tmp_path)),
        METRICS["top1"],
        0.07,
        on_sample=lambda done, total: told.append((done, total)),
    )
    once = [(done, COUNT) for done in range(1, COUNT + 1)]
    assert told == once
    nan, failed = (bench.judge(each) for each in (root, failing))
    assert told == once
    same = bench.judge(identity(tmp_path / "same.onnx")).evaluation
    assert told == once * 2
    assert nan.evaluation.reason == "gives NaN or Inf in output y at sample 0"
    assert failed.evaluation.reason.startswith("fails at sample 0: ")
    assert "\n" not in failed.evaluation.reason
    for each in (nan, failed):
        evaluation = each.evaluation
        assert evaluation.verdict == "broken" and evaluation.score is None
        assert evaluation.drop is None and evaluation.interval is None
        assert each.drops.shape == (COUNT,)
    assert same.verdict == "proven"


@pytest.mark.parametrize("order", [None, np.arange(COUNT, dtype=np.float64)])
def test_a_candidate_that_breaks_names_the_sample_of_the_data(
    tmp_path: Path, order: np.ndarray | None
) -> None:
    values = np.abs(np.stack(normal(0, COUNT, 10)))
    values[37, 2] = -1
    dataset = rows(tmp_path, values)
    root = artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt"))
    bench = Examiner(identity(tmp_path / "float.onnx"), dataset, METRICS["cosine"], None)
    found = bench.judge(root, worst_first=order).evaluation
    assert found.verdict == "broken"
    assert found.reason == "gives NaN or Inf in output y at sample 37"


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_candidate_that_cannot_be_loaded_is_broken(tmp_path: Path, content: bytes | None) -> None:
    spoilt = identity(tmp_path / "spoilt.onnx")
    spoilt.path.unlink()
    if content is not None:
        spoilt.path.write_bytes(content)
    found = judged(tmp_path, spoilt, "cosine", 0.01)
    assert found.verdict == "broken" and found.drop is None
    assert "spoilt.onnx can't be loaded: " in found.reason and "\n" not in found.reason


def test_a_float_model_with_nan_is_the_users_mistake(tmp_path: Path) -> None:
    root = artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt"))
    with pytest.raises(
        UsageError, match="the float model gives NaN or Inf in output y at sample 0"
    ):
        Examiner(root, data(tmp_path), METRICS["cosine"], 0.01)


def test_a_float_model_that_fails_is_the_datas_fault(tmp_path: Path) -> None:
    failing = artifact(gather_past_the_end(tmp_path / "failing.onnx"))
    with pytest.raises(UsageError, match=r"the model fails on input 0: .*Gather"):
        Examiner(failing, data(tmp_path), METRICS["cosine"], 0.01)


def test_a_float_model_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    spoilt = identity(tmp_path / "spoilt.onnx")
    spoilt.path.write_bytes(b"not a model")
    with pytest.raises(UsageError, match=r"spoilt\.onnx can't be loaded"):
        Examiner(spoilt, data(tmp_path), METRICS["cosine"], 0.01)


def test_labels_are_asked_for_where_a_metric_needs_them(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")
    with pytest.raises(UsageError, match=r"metric top1 needs labels, and .* has none") as caught:
        Examiner(same, data(tmp_path), METRICS["top1"], 0.01)
    assert caught.value.hint is not None and "--metric agreement" in caught.value.hint


@pytest.mark.parametrize("label", [10, -1])
def test_a_wrong_label_names_its_sample(tmp_path: Path, label: int) -> None:
    labels = best(tmp_path)
    labels[7] = label
    with pytest.raises(UsageError, match=rf"rows\.npz, sample 7: label {label} is outside"):
        judged(tmp_path, identity(tmp_path / "same.onnx"), "top1", 0.1, labels)


def test_a_score_that_is_no_number_is_blamed_on_who_gave_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def always(outputs, label):\n    return float('nan')\n"
        "def of_negative(outputs, label):\n"
        "    return 1.0 if outputs[0].sum() >= 0 else float('inf')\n"
    )
    same = identity(tmp_path / "float.onnx")
    with pytest.raises(UsageError, match=r"sample 0: the metric m\.py:always gave nan"):
        Examiner(same, data(tmp_path), get_metric("m.py:always", tmp_path), 0.01)
    bench = Examiner(
        artifact(elementwise_net(tmp_path / "abs.onnx", "Abs")),
        data(tmp_path),
        get_metric("m.py:of_negative", tmp_path),
        0.2,
    )
    broken = bench.judge(artifact(negative(tmp_path))).evaluation
    assert broken.verdict == "broken"
    assert broken.reason == "gives inf by the metric m.py:of_negative at sample 0"
    positive = artifact(elementwise_net(tmp_path / "abs2.onnx", "Abs"))
    assert bench.judge(positive).evaluation.verdict == "proven"


def negative(directory: Path) -> Path:
    return save_onnx(
        directory / "minus.onnx",
        [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])],
        {"x": [1, 10]},
        {"y": [1, 10]},
    )


@pytest.mark.parametrize("order", [None, np.arange(COUNT, dtype=np.float64)])
def test_a_metric_that_raises_names_the_sample(tmp_path: Path, order: np.ndarray | None) -> None:
    (tmp_path / "m.py").write_text(
        "def of_small(outputs, label):\n"
        "    if outputs[0].max() >= 100:\n        raise ValueError('too large')\n"
        "    return 1.0\n"
    )
    metric = get_metric("m.py:of_small", tmp_path)
    values = np.stack(normal(0, COUNT, 10))
    values[41, 0] = 60
    same, doubled = (
        artifact(elementwise_net(tmp_path / f"x{factor}.onnx", "Mul", factor))
        for factor in (1.0, 2.0)
    )
    dataset = rows(tmp_path, values)
    told = r"rows\.npz, sample 41: the metric m\.py:of_small raised ValueError: too large"
    # The float model's answers may be the ones it stumbles over, or a candidate's.
    with pytest.raises(UsageError, match=told):
        Examiner(doubled, dataset, metric, 0.1)
    bench = Examiner(same, dataset, metric, 0.1)
    with pytest.raises(UsageError, match=told) as caught:
        bench.judge(doubled, worst_first=order)
    assert "m.py, line 3" in caught.value.message


def test_no_signal_is_no_number_either(tmp_path: Path) -> None:
    nothing = artifact(elementwise_net(tmp_path / "zero.onnx", "Mul", 0.0))
    bench = Examiner(nothing, data(tmp_path), METRICS["sqnr"], 0.01)
    assert bench.judge(nothing).evaluation.verdict == "proven"
    other = bench.judge(identity(tmp_path / "same.onnx")).evaluation
    assert other.verdict == "broken" and "inf by the metric sqnr" in other.reason


def test_few_samples_of_a_mean_are_undecided(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")
    bench = Examiner(same, data(tmp_path, count=5), METRICS["cosine"], 0.01)
    found = bench.judge(same).evaluation
    assert found.verdict == "undecided" and found.interval is None
    assert "5 samples are too few to decide; needs at least 20" in found.reason


def test_a_cosine_is_no_proportion_even_where_it_is_exactly_one(tmp_path: Path) -> None:
    """Whether the same vectors have the cosine 1 or 0.9999999999999999 is a matter of rounding."""
    same = identity(tmp_path / "float.onnx")
    for values in (np.eye(10)[np.arange(COUNT) % 10], np.stack(normal(0, COUNT, 10))):
        bench = Examiner(same, rows(tmp_path, values), METRICS["cosine"], 0.001)
        found = bench.judge(same).evaluation
        assert found.verdict == "proven" and found.interval == pytest.approx((0, 0), abs=1e-9)


# In bounded memory


class Rows:
    """Rows made when they are asked for; counts how often that is, and how many are alive."""

    has_labels = False

    def __init__(self, count: int, width: int) -> None:
        self._shape = count, width
        self._alive: list[weakref.ref[np.ndarray]] = []
        self.passes = 0
        self.most_alive = 0

    def __len__(self) -> int:
        return self._shape[0]

    def __iter__(self) -> Iterator[Sample]:
        self.passes += 1
        generator = np.random.default_rng(0)
        for _ in range(self._shape[0]):
            row = generator.normal(size=(1, self._shape[1])).astype(np.float32)
            self._alive.append(weakref.ref(row))
            self.most_alive = max(self.most_alive, self.alive)
            yield Sample({"x": row})

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self._alive)


def held(samples: Rows) -> Dataset:
    return Dataset(samples, (port(1, 10),), "rows", "0" * 64)


@pytest.mark.parametrize("metric", ["agreement", "cosine", "sqnr"])
@pytest.mark.parametrize("max_drop", [0.001, 0.2, None])
def test_what_does_not_fit_into_memory_is_read_again_with_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, max_drop: float | None
) -> None:
    reference = identity(tmp_path / "float.onnx")
    candidates = [
        artifact(elementwise_net(tmp_path / f"{operator}.onnx", operator, constant))
        for operator, constant in (("Mul", 1.1), ("Add", 0.5), ("Sqrt", None), ("Max", 0.0))
    ]
    found = []
    row_bytes = 2 * 10 * 4  # a sample and the float model's answer
    for limit, passes in ((COUNT * row_bytes, 1), (COUNT * row_bytes - 1, 5), (0, 5)):
        monkeypatch.setattr(examiner, "KEPT_BYTES", limit)
        samples = Rows(COUNT, 10)
        bench = Examiner(reference, held(samples), METRICS[metric], max_drop)
        judgements = [bench.judge(candidate) for candidate in candidates]
        assert samples.passes == passes
        found.append([bench.own, *((each.evaluation, each.drops.tolist()) for each in judgements)])
    assert found[0] == found[1] == found[2]


def test_no_more_is_kept_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner, "KEPT_BYTES", 10 * 2 * 10 * 4)
    samples = Rows(COUNT, 10)
    reference = identity(tmp_path / "float.onnx")
    bench = Examiner(reference, held(samples), METRICS["cosine"], 0.1)
    bench.judge(reference)
    assert samples.alive <= 1
    assert samples.most_alive <= 10 + 2  # and the one before, and the one being made
