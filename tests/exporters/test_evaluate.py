"""Candidates against their float model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from models import artifact, elementwise_net, gather_past_the_end, normal, port, save_onnx
from onnx import helper

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset, Sample, open_dataset
from edgewright.exporters.evaluate import Evaluation, differences, evaluate, judge_drop
from edgewright.exporters.metrics import METRICS, get_metric
from edgewright.exporters.paired import binary_interval
from edgewright.exporters.runtime import LoadedArtifact

COUNT = 60


def identity(path: Path) -> Artifact:
    return artifact(elementwise_net(path, "Identity"))


def data(directory: Path, labels: object = None, count: int = COUNT) -> Dataset:
    """Random rows; the identity's top-1 is their largest column."""
    rows = np.stack(normal(0, count, 10))
    arrays = {"x": rows}
    if labels is not None:
        arrays["labels"] = np.asarray(labels)
    np.savez(directory / "rows.npz", **arrays)
    return open_dataset(str(directory / "rows.npz"), [port(1, 10)])


def best(directory: Path) -> np.ndarray:
    data(directory)
    with np.load(directory / "rows.npz") as archive:
        found: np.ndarray = archive["x"].argmax(axis=1)
    return found


def judged(
    directory: Path, candidate: Artifact, metric: str, max_drop: float | None, labels: object = None
) -> Evaluation:
    own, other = evaluate(
        identity(directory / "float.onnx"),
        [candidate],
        data(directory, labels),
        METRICS[metric],
        max_drop,
    )
    assert own.verdict == "reference" and own.drop == 0 and own.interval is None
    assert own.samples == other.samples == COUNT
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


def test_a_broken_candidate_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    labels = best(tmp_path)
    root = artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt"))  # NaN below zero
    failing = artifact(gather_past_the_end(tmp_path / "failing.onnx"))
    candidates = [root, failing, identity(tmp_path / "same.onnx")]
    told: list[tuple[int, int]] = []
    _, nan, failed, same = evaluate(
        identity(tmp_path / "float.onnx"),
        candidates,
        data(tmp_path, labels),
        METRICS["top1"],
        0.07,
        on_sample=lambda done, total: told.append((done, total)),
    )
    assert nan.verdict == "broken" and nan.reason == "gives NaN or Inf in output y at sample 0"
    assert failed.verdict == "broken" and failed.reason.startswith("fails at sample 0: ")
    assert "\n" not in failed.reason
    assert nan.score is None and nan.drop is None and nan.interval is None
    assert same.verdict == "proven"
    assert told == [(done, COUNT) for done in range(1, COUNT + 1)]


def test_a_float_model_with_nan_is_the_users_mistake(tmp_path: Path) -> None:
    root = artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt"))
    with pytest.raises(
        UsageError, match="the float model gives NaN or Inf in output y at sample 0"
    ):
        evaluate(root, [root], data(tmp_path), METRICS["cosine"], 0.01)


def test_a_float_model_that_fails_is_the_datas_fault(tmp_path: Path) -> None:
    failing = artifact(gather_past_the_end(tmp_path / "failing.onnx"))
    with pytest.raises(UsageError, match=r"the model fails on input 0: .*Gather"):
        evaluate(failing, [], data(tmp_path), METRICS["cosine"], 0.01)
    samples = data(tmp_path).first(1)
    with pytest.raises(UsageError, match=r"the model fails on input 0: .*Gather"):
        differences(
            lambda sample: LoadedArtifact(failing).run(sample.inputs),
            LoadedArtifact(identity(tmp_path / "i.onnx")),
            samples,
        )
    with pytest.raises(ConversionError, match=r"the model made fails on input 0: .*Gather"):
        differences(lambda sample: [sample.inputs["x"]], LoadedArtifact(failing), samples)


def test_labels_are_asked_for_where_a_metric_needs_them(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")
    with pytest.raises(UsageError, match=r"metric top1 needs labels, and .* has none") as caught:
        evaluate(same, [], data(tmp_path), METRICS["top1"], 0.01)
    assert caught.value.hint is not None and "--metric agreement" in caught.value.hint


def test_a_wrong_label_names_its_sample(tmp_path: Path) -> None:
    labels = best(tmp_path)
    labels[7] = 10
    with pytest.raises(UsageError, match=r"rows\.npz, sample 7: label 10 is outside"):
        judged(tmp_path, identity(tmp_path / "same.onnx"), "top1", 0.1, labels)


def test_a_score_that_is_no_number_is_blamed_on_who_gave_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def always(outputs, label):\n    return float('nan')\n"
        "def of_negative(outputs, label):\n"
        "    return 1.0 if outputs[0].sum() >= 0 else float('inf')\n"
    )
    same = identity(tmp_path / "float.onnx")
    with pytest.raises(UsageError, match=r"sample 0: the metric m\.py:always gave nan"):
        evaluate(same, [], data(tmp_path), get_metric("m.py:always", tmp_path), 0.01)
    positive = artifact(elementwise_net(tmp_path / "abs.onnx", "Abs"))
    negative = artifact(
        save_onnx(
            tmp_path / "minus.onnx",
            [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])],
            {"x": [1, 10]},
            {"y": [1, 10]},
        )
    )
    metric = get_metric("m.py:of_negative", tmp_path)
    _, broken, fine = evaluate(positive, [negative, positive], data(tmp_path), metric, 0.2)
    assert broken.verdict == "broken"
    assert broken.reason == "gives inf by the metric m.py:of_negative at sample 0"
    assert fine.verdict == "proven"


def test_no_signal_is_no_number_either(tmp_path: Path) -> None:
    nothing = artifact(elementwise_net(tmp_path / "zero.onnx", "Mul", 0.0))
    _, same, other = evaluate(
        nothing,
        [nothing, identity(tmp_path / "same.onnx")],
        data(tmp_path),
        METRICS["sqnr"],
        0.01,
    )
    assert same.verdict == "proven"
    assert other.verdict == "broken" and "inf by the metric sqnr" in other.reason


def test_few_samples_of_a_mean_are_undecided(tmp_path: Path) -> None:
    same = identity(tmp_path / "float.onnx")
    _, found = evaluate(same, [same], data(tmp_path, count=5), METRICS["cosine"], 0.01)
    assert found.verdict == "undecided" and found.interval is None
    assert "5 samples are too few to decide; needs at least 20" in found.reason


@pytest.mark.parametrize(
    ("drop", "interval", "max_drop", "verdict", "words"),
    [
        (0.0, (-0.01, 0.01), 0.01, "proven", "is within 0.01"),
        (0.0, (-0.02, 0.010001), 0.01, "undecided", "needs about 101 samples"),
        (-0.05, (-0.06, -0.04), 0.0, "proven", "drop -0.0500 [-0.0600, -0.0400]"),
        (0.03, (0.0101, 0.05), 0.01, "exceeds", "is beyond 0.01"),
        # The point is beyond, but not proven to be.
        (0.02, (0.01, 0.05), 0.01, "undecided", "is not within 0.01"),
        (0.0, (-0.01, 0.01), None, "undecided", "no allowed drop was stated"),
        (0.0, None, 0.01, "undecided", "100 samples are too few"),
    ],
)
def test_the_interval_decides_and_never_the_point(
    drop: float,
    interval: tuple[float, float] | None,
    max_drop: float | None,
    verdict: str,
    words: str,
) -> None:
    found, reason = judge_drop(drop, interval, max_drop, 100)
    assert found == verdict and words in reason


def test_differences_are_the_worst_error_and_the_noise_of_all_samples(tmp_path: Path) -> None:
    scaled = LoadedArtifact(artifact(elementwise_net(tmp_path / "m.onnx", "Mul", 1.1)))
    samples = [Sample({"x": np.full((1, 10), value, np.float32)}) for value in (1.0, 3.0)]
    (found,) = differences(lambda sample: [sample.inputs["x"]], scaled, samples)
    assert found.output == "y"
    assert found.max_abs_error == pytest.approx(0.3, rel=1e-5)
    assert found.sqnr_db == pytest.approx(20, abs=1e-3)
    same = LoadedArtifact(identity(tmp_path / "i.onnx"))
    (none,) = differences(lambda sample: [sample.inputs["x"]], same, samples)
    assert none.max_abs_error == 0 and none.sqnr_db is None
    with pytest.raises(UsageError, match="the model gives NaN or Inf in output y"):
        differences(lambda sample: [sample.inputs["x"] * np.nan], same, samples)
