"""Candidates against their float model in any order, and answers before the last sample."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from models import artifact, port, save_onnx
from onnx import helper

from edgewright.exporters import examiner
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset, open_dataset
from edgewright.exporters.evaluate import judge_drop
from edgewright.exporters.examiner import Examiner, Judgement
from edgewright.exporters.metrics import METRICS, Metric, get_metric
from edgewright.exporters.paired import binary_interval, mean_interval

COUNT = 60
#: Samples that are run before it is first asked whether a candidate is lost.
FIRST = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that give columns of their input, and a metric that takes an answer as its score."""
    directory = tmp_path_factory.mktemp("columns")
    (directory / "m.py").write_text("def value(outputs, label):\n    return outputs[0].item()\n")
    models = {"float": [0], "candidate": [2], "float-class": [0, 1], "candidate-class": [2, 3]}
    for name, columns in models.items():
        save_onnx(
            directory / f"{name}.onnx",
            [helper.make_node("Gather", ["x", "at"], ["y"], axis=1)],
            {"x": [1, 4]},
            {"y": [1, len(columns)]},
            at=np.array(columns),
        )
    return directory


def rows(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "rows.npz", **arrays)
    return open_dataset(str(folder / "rows.npz"), [port(1, 4)])


def a_metric(folder: Path, name: str) -> Metric:
    return METRICS[name] if name in METRICS else get_metric("m.py:value", folder)


def answering(
    folder: Path,
    floats: npt.NDArray[np.float64],
    others: npt.NDArray[np.float64],
    metric: str,
    max_drop: float | None,
) -> tuple[Examiner, Artifact]:
    """A candidate that answers `others` where the float model answers `floats`."""
    columns = np.zeros((len(floats), 4), np.float32)
    columns[:, 0], columns[:, 2] = floats, others
    reference, candidate = (artifact(folder / f"{name}.onnx") for name in ("float", "candidate"))
    dataset = rows(folder, x=columns)
    return Examiner(reference, dataset, a_metric(folder, metric), max_drop), candidate


def classifying(
    folder: Path,
    floats: Sequence[bool] | npt.NDArray[np.bool_],
    others: Sequence[bool] | npt.NDArray[np.bool_],
    metric: str,
    max_drop: float | None,
    **options: Any,
) -> tuple[Examiner, Artifact]:
    """A candidate that is right where `others` say so, and a float model likewise."""
    columns = np.full((len(floats), 4), 0.5, np.float32)
    columns[:, 0], columns[:, 2] = floats, others
    reference, candidate = (
        artifact(folder / f"{name}-class.onnx") for name in ("float", "candidate")
    )
    dataset = rows(folder, x=columns, labels=np.zeros(len(floats), np.int64))
    return Examiner(reference, dataset, METRICS[metric], max_drop, **options), candidate


def check_same(one: Judgement, other: Judgement) -> None:
    """The same but for the order in which powers and cosines are added."""
    sums = ("sqnr_db", "cosine")
    exact = [
        {name: value for name, value in vars(each.evaluation).items() if name not in sums}
        for each in (one, other)
    ]
    assert exact[0] == exact[1]
    for name in sums:
        found, wanted = (getattr(each.evaluation, name) for each in (one, other))
        assert found == wanted or found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    np.testing.assert_array_equal(one.drops, other.drops)


def check_early_answer(bench: Examiner, candidate: Artifact, order: np.ndarray) -> None:
    """That what is answered early is what all the samples would have come to: not proven."""
    whole, early = bench.judge(candidate), bench.judge(candidate, worst_first=order)
    if early.evaluation.score is not None:
        check_same(early, whole)
        return
    assert early.evaluation.verdict in ("exceeds", "undecided")
    assert re.search(rf"clear after \d+ of {bench.samples} samples$", early.evaluation.reason)
    assert whole.evaluation.verdict in ("exceeds", "undecided")
    ran = early.drops != 0
    np.testing.assert_array_equal(early.drops[ran], whole.drops[ran])


reals = st.integers(-2000, 2000).map(lambda thousandths: thousandths / 1000)
#: Drops of a similar candidate: those of this one, more or less.
guesses = st.tuples(st.sampled_from([0.0, 0.3, 10.0]), st.integers(0, 2**32 - 1))
EXACT = (0.0, 0)


def guessed(drops: npt.NDArray[np.float64], guess: tuple[float, int]) -> npt.NDArray[np.float64]:
    error, seed = guess
    return drops + error * np.random.default_rng(seed).normal(size=drops.size)


def paired(
    first: st.SearchStrategy[float], second: st.SearchStrategy[float], least: int = 1
) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(first, second), min_size=least, max_size=40)


@st.composite
def rights_and_wrongs(draw: st.DrawFn) -> list[tuple[bool, bool]]:
    """Of the float model and of the candidate: mostly the same."""
    lost, won = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    right, wrong = draw(st.integers(FIRST, 80)), draw(st.integers(0, 40))
    found = [(True, False)] * lost + [(False, True)] * won
    return draw(st.permutations(found + [(True, True)] * right + [(False, False)] * wrong))


@st.composite
def errors_and_allowances(draw: st.DrawFn) -> tuple[list[float], float]:
    """A few large errors and many small ones, and a mean drop that is about as large."""
    large = draw(st.lists(reals.map(abs), max_size=12))
    small = draw(st.lists(st.integers(0, 20).map(lambda n: n / 1000), min_size=20, max_size=40))
    return large + small, float(np.mean(large + small)) * draw(st.integers(0, 40)) / 10


@settings(max_examples=30, deadline=None)
@given(
    metric=st.sampled_from(["value", "mae", "mse", "sqnr", "cosine"]),
    pairs=paired(reals.filter(bool), reals),
    max_drop=st.none() | reals,
    guess=guesses,
)
def test_all_is_as_computed_plainly_in_any_order(
    folder: Path,
    metric: str,
    pairs: list[tuple[float, float]],
    max_drop: float | None,
    guess: tuple[float, int],
) -> None:
    floats, others = np.array(pairs, np.float32).astype(np.float64).T
    bench, candidate = answering(folder, floats, others, metric, max_drop)
    found = bench.judge(candidate)
    drops = {
        "value": floats - others,
        "mae": np.abs(others - floats),
        "mse": (others - floats) ** 2,
        "sqnr": (others - floats) ** 2 / floats**2,
        "cosine": 1 - np.sign(floats * others),
    }[metric]
    np.testing.assert_allclose(found.drops, drops, rtol=1e-9, atol=1e-12)
    evaluation = found.evaluation
    assert evaluation.samples == len(pairs) and evaluation.max_drop == max_drop
    assert evaluation.drop is not None
    assert evaluation.drop == pytest.approx(drops.mean(), abs=1e-9)
    interval = evaluation.interval if metric == "cosine" else mean_interval(found.drops)
    if metric == "value" and {*floats, *others} <= {0.0, 1.0}:
        interval = binary_interval(floats.tolist(), others.tolist())
    assert evaluation.interval == interval
    assert (evaluation.verdict, evaluation.reason) == judge_drop(
        evaluation.drop, interval, max_drop, len(pairs)
    )
    signal, noise = (floats**2).sum(), ((floats - others) ** 2).sum()
    sqnr = None if noise == 0 else 10 * np.log10(signal / noise)
    assert evaluation.sqnr_db == (None if sqnr is None else pytest.approx(sqnr, rel=1e-6))
    assert evaluation.cosine == pytest.approx(np.sign(floats * others).mean(), abs=1e-9)
    unstated, _ = answering(folder, floats, others, metric, None)
    check_same(
        unstated.judge(candidate, worst_first=guessed(drops, guess)), unstated.judge(candidate)
    )


@settings(max_examples=30, deadline=None)
@given(pairs=rights_and_wrongs())
def test_right_and_wrong_are_compared_as_proportions(
    folder: Path, pairs: list[tuple[bool, bool]]
) -> None:
    floats, others = zip(*pairs, strict=True)
    bench, candidate = classifying(folder, floats, others, "top1", 0.1)
    found = bench.judge(candidate).evaluation
    assert (found.float_score, found.score) == (np.mean(floats), np.mean(others))
    assert found.interval == binary_interval(
        [float(right) for right in floats], [float(right) for right in others]
    )
    agreeing, _ = classifying(folder, floats, others, "agreement", 0.1)
    assert agreeing.judge(candidate).evaluation.score == np.mean(np.equal(floats, others))


@settings(max_examples=30, deadline=None)
@given(
    pairs=rights_and_wrongs(),
    metric=st.sampled_from(["top1", "agreement"]),
    max_drop=st.integers(0, 400).map(lambda thousandths: thousandths / 1000),
    guess=guesses,
)
# Wrong where the float model is right 8 times, and right where it is wrong 32 times.
@example([(True, False)] * 8 + [(False, True)] * 32, "top1", 0.1, EXACT)
def test_what_right_and_wrong_answers_prove_is_never_given_up(
    folder: Path,
    pairs: list[tuple[bool, bool]],
    metric: str,
    max_drop: float,
    guess: tuple[float, int],
) -> None:
    floats, others = (np.array(each) for each in zip(*pairs, strict=True))
    bench, candidate = classifying(folder, floats, others, metric, max_drop)
    check_early_answer(bench, candidate, guessed(1.0 * floats - others, guess))


@settings(max_examples=30, deadline=None)
@given(errors_and_allowances(), guesses)
# The upper end of a BCa interval shrinks as the small drops come closer to the few large ones.
@example(([1.0] * 4 + [2**-9] * 16, 0.42), EXACT)
@example(([1.0] * 2 + [2**-9 * (1 + i % 2) for i in range(24)], 0.245), EXACT)
def test_what_small_errors_prove_is_never_given_up(
    folder: Path, errors_and_max_drop: tuple[list[float], float], guess: tuple[float, int]
) -> None:
    errors, max_drop = errors_and_max_drop
    drops = np.array(errors)
    bench, candidate = answering(folder, 0 * drops, drops, "mae", max_drop)
    check_early_answer(bench, candidate, guessed(drops, guess))


@settings(max_examples=30, deadline=None)
@given(
    pairs=paired(reals, reals, 20) | paired(st.just(1.0), st.sampled_from([0.0, 1.0, 0.99]), 20),
    max_drop=reals.map(abs),
    guess=guesses,
)
# Better than the float model where it is not the worst.
@example([(0.5, 0.0)] * 8 + [(0.5, 1.0)] * 32, 0.05, EXACT)
# Nothing but zeros and ones at first, and then something between.
@example([(1.0, 1.0)] * 39 + [(1.0, 0.999)], 0.05, (10.0, 0))
@example([(1.0, 1.0)] * 39 + [(1.0, 0.999)], 0.05, (10.0, 1))
def test_what_a_users_metric_proves_is_never_given_up(
    folder: Path, pairs: list[tuple[float, float]], max_drop: float, guess: tuple[float, int]
) -> None:
    floats, others = np.array(pairs).T
    bench, candidate = answering(folder, floats, others, "value", max_drop)
    check_early_answer(bench, candidate, guessed(floats - others, guess))


@pytest.mark.parametrize(
    ("lost", "max_drop", "after", "verdict"),
    [
        (30, 0.01, 8, "exceeds"),
        (30, 0.2, 8, "undecided"),
        (14, 0.3, 16, "undecided"),
        (10, 0.3, COUNT, "proven"),
        (0, 0.01, 8, "undecided"),  # 60 samples can't prove that
        (30, None, COUNT, "undecided"),
    ],
)
def test_what_is_lost_is_given_up_soon(
    folder: Path, lost: int, max_drop: float | None, after: int, verdict: str
) -> None:
    """Judged on the samples on which a similar candidate did worst first: here the last ones."""
    others = np.arange(COUNT) < COUNT - lost
    told: list[int] = []
    bench, candidate = classifying(
        folder, [True] * COUNT, others, "agreement", max_drop,
        on_sample=lambda done, total: told.append(done),
    )  # fmt: skip
    told.clear()
    found = bench.judge(candidate, worst_first=1.0 - others.astype(np.float64))
    evaluation = found.evaluation
    assert told == list(range(1, after + 1)) and evaluation.verdict == verdict
    assert (evaluation.score is None) == (after < COUNT)
    assert found.drops.sum() == min(lost, after)
    assert not found.drops[: COUNT - lost].any()
    if after < COUNT:
        assert evaluation.reason.endswith(f"clear after {after} of {COUNT} samples")
        assert evaluation.drop is not None and evaluation.drop <= lost / COUNT
    told.clear()
    in_order = bench.judge(candidate).evaluation
    assert told == list(range(1, COUNT + 1)) and in_order.score == np.mean(others)


def test_few_samples_are_all_run(folder: Path) -> None:
    wrong = [False] * FIRST
    bench, candidate = classifying(folder, [True] * FIRST, wrong, "agreement", 0.01)
    found = bench.judge(candidate, worst_first=np.ones(FIRST))
    check_same(found, bench.judge(candidate))
    assert found.evaluation.score == 0


def test_answers_come_early_in_the_datas_order_where_memory_is_short(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examiner, "KEPT_BYTES", 0)
    others = np.arange(COUNT) >= 10
    order = np.arange(COUNT, dtype=np.float64)
    bench, candidate = classifying(folder, [True] * COUNT, others, "agreement", 0.05)
    found = bench.judge(candidate, worst_first=order)
    assert found.evaluation.reason.endswith(f"clear after 8 of {COUNT} samples")
    np.testing.assert_array_equal(found.drops, np.arange(COUNT) < 8)
