"""How far answers are from those of the float model, and what a drop proves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import artifact, elementwise_net, gather_past_the_end, normal, port

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.evaluate import answers, differences, judge_drop, require_labels
from edgewright.exporters.metrics import METRICS
from edgewright.exporters.runtime import LoadedArtifact


def identity(path: Path) -> Artifact:
    return artifact(elementwise_net(path, "Identity"))


def samples(count: int) -> list[Sample]:
    return [Sample({"x": row}) for row in normal(0, count, 1, 10)]


def test_answers_of_the_users_model_name_the_input_that_fails(tmp_path: Path) -> None:
    failing = LoadedArtifact(artifact(gather_past_the_end(tmp_path / "failing.onnx")))
    (sample,) = samples(1)
    with pytest.raises(UsageError, match=r"the model fails on input 5: .*Gather") as caught:
        answers(failing.run, sample.inputs, 5)
    assert "\n" not in caught.value.message and caught.value.hint is not None
    same = LoadedArtifact(identity(tmp_path / "same.onnx"))
    (answer,) = answers(same.run, sample.inputs, 5)
    np.testing.assert_array_equal(answer, sample.inputs["x"])

    def refuse(_: object) -> list[np.ndarray]:
        raise UsageError("mine", hint="own")

    with pytest.raises(UsageError, match=r"^mine$"):
        answers(refuse, sample.inputs, 5)


def test_a_failure_is_blamed_on_the_model_that_fails(tmp_path: Path) -> None:
    failing = LoadedArtifact(artifact(gather_past_the_end(tmp_path / "failing.onnx")))
    same = LoadedArtifact(identity(tmp_path / "same.onnx"))
    with pytest.raises(UsageError, match=r"the model fails on input 0: .*Gather"):
        differences(lambda sample: failing.run(sample.inputs), same, samples(1))
    with pytest.raises(ConversionError, match=r"the model made fails on input 0: .*Gather"):
        differences(lambda sample: [sample.inputs["x"]], failing, samples(1))
    root = LoadedArtifact(artifact(elementwise_net(tmp_path / "sqrt.onnx", "Sqrt")))
    with pytest.raises(ConversionError, match=r"output y of the model made has NaN or Inf"):
        differences(lambda sample: [sample.inputs["x"]], root, samples(1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("labelled", [True, False])
def test_labels_are_asked_for_where_a_metric_needs_them(
    tmp_path: Path, metric: str, labelled: bool
) -> None:
    inputs, labels = np.zeros((3, 10), np.float32), np.arange(3)
    if labelled:
        np.savez(tmp_path / "rows.npz", x=inputs, labels=labels)
    else:
        np.savez(tmp_path / "rows.npz", x=inputs)
    dataset = open_dataset("rows.npz", [port(1, 10)], base=tmp_path)
    if labelled or not METRICS[metric].needs_labels:
        require_labels(METRICS[metric], dataset)
        return
    with pytest.raises(UsageError, match=rf"metric {metric} needs labels, and rows\.npz") as caught:
        require_labels(METRICS[metric], dataset)
    assert caught.value.hint is not None and "--metric agreement" in caught.value.hint


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
        (0.0, (-0.1, 0.1), 1e-200, "undecided", "within 1e-200"),
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


@given(
    st.floats(-1, 1),
    st.none() | st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    st.none() | st.floats(-1, 1),
    st.integers(1, 10**6),
)
def test_a_verdict_is_proven_where_the_whole_interval_is_allowed(
    drop: float, widths: tuple[float, float] | None, max_drop: float | None, count: int
) -> None:
    interval = None if widths is None else (drop - widths[0], drop + widths[1])
    verdict, reason = judge_drop(drop, interval, max_drop, count)
    assert reason and "\n" not in reason
    if max_drop is None or interval is None:
        assert verdict == "undecided"
        return
    assert (verdict == "proven") == (interval[1] <= max_drop)
    assert (verdict == "exceeds") == (interval[0] > max_drop)


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
