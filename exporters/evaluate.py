"""Candidates against their float model, sample by sample, on the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from ..errors import ConversionError, EdgewrightError, UsageError
from .artifact import Array, Artifact, OutputDifference
from .data import Dataset, Sample
from .metrics import Metric, cosine, decibel, powers
from .paired import MIN_BOOTSTRAP_SAMPLES, binary_interval, mean_interval, samples_to_resolve
from .runtime import LoadedArtifact, first_line

_Input = TypeVar("_Input")

Verdict = Literal["reference", "proven", "exceeds", "undecided", "broken"]


@dataclass(frozen=True)
class Evaluation:
    """How a candidate answers, compared with the float model on the same samples.

    Attributes:
        score, float_score: means of the metric over the samples.
        drop: how much worse the candidate is on average (for 'sqnr' the noise/signal ratio).
        interval: 95% confidence interval of the paired drop; None where too few samples.
        max_drop: the drop allowed; None where none was stated.
        verdict: 'reference' for the float model itself; 'proven' when the whole interval lies
            within the allowed drop; 'exceeds' when it lies beyond; 'undecided' otherwise;
            'broken' when the candidate gives NaN or fails.
        reason: the verdict in one line.
        sqnr_db, cosine: of all outputs against the float model's; sqnr_db is None without noise.
    """

    metric: str
    samples: int
    data: str
    score: float | None
    float_score: float
    drop: float | None
    interval: tuple[float, float] | None
    max_drop: float | None
    verdict: Verdict
    reason: str
    sqnr_db: float | None
    cosine: float | None


@dataclass
class _Tally:
    """What accumulates for one candidate."""

    model: LoadedArtifact
    scores: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    signal: float = 0.0
    noise: float = 0.0
    broken: str = ""


def evaluate(
    reference: Artifact,
    candidates: Sequence[Artifact],
    dataset: Dataset,
    metric: Metric,
    max_drop: float | None,
    *,
    on_sample: Callable[[int, int], None] = lambda done, total: None,
    threads: int = 1,
    saturating: bool = False,
) -> list[Evaluation]:
    """Runs the float model and every candidate over the data, once, in bounded memory.

    Args:
        threads, saturating: as of `runtime.load_model`.

    Returns:
        One evaluation of the float model itself, then one for each candidate.

    Raises:
        UsageError: the metric needs labels that are missing, or the float model gives NaN or fails.
    """
    require_labels(metric, dataset)
    float_model = LoadedArtifact(reference, threads=threads)
    tallies = [
        _Tally(LoadedArtifact(candidate, threads=threads, saturating=saturating))
        for candidate in candidates
    ]
    float_scores: list[float] = []
    total = len(dataset)
    for index, sample in enumerate(dataset):
        floats = answers(float_model.run, sample.inputs, index)
        _refuse_nan(floats, reference, index)
        with_place = f"{dataset.description}, sample {index}"
        float_scores.append(_finite_value(metric, floats, sample, with_place))
        for tally in tallies:
            if not tally.broken:
                _add(tally, metric, floats, sample, index, with_place)
        on_sample(index + 1, total)
    own = Evaluation(
        metric.name, total, dataset.description, _mean(float_scores), _mean(float_scores), 0.0,
        None, max_drop, "reference", "the float model", None, 1.0,
    )  # fmt: skip
    return [own] + [_judge(tally, float_scores, dataset, metric, max_drop) for tally in tallies]


def require_labels(metric: Metric, dataset: Dataset) -> None:
    """That the data have the labels that the metric needs.

    Raises:
        UsageError: they have none.
    """
    if metric.needs_labels and not dataset.has_labels:
        raise UsageError(
            f"metric {metric.name} needs labels, and {dataset.description} has none",
            hint="add an array 'labels' (.npz), set labels (pictures), yield (inputs, label), or "
            "use --metric agreement, cosine or sqnr, which compare with the float model",
        )


def differences(
    reference: Callable[[Sample], Sequence[Array]],
    artifact: LoadedArtifact,
    samples: Sequence[Sample],
) -> tuple[OutputDifference, ...]:
    """Each output of `artifact` against that of `reference`, over all the samples.

    Raises:
        UsageError: the reference gives NaN, or fails.
        ConversionError: the artifact fails.
    """
    names = [port.source_name for port in artifact.artifact.outputs]
    worst = [0.0] * len(names)
    totals = [(0.0, 0.0)] * len(names)
    for index, sample in enumerate(samples):
        wanted = answers(reference, sample, index)
        try:
            given = artifact.run(sample.inputs)
        except Exception as error:
            raise ConversionError(
                f"the model made fails on input {index}: {first_line(error)}"
            ) from error
        for at, (x, y) in enumerate(zip(wanted, given, strict=True)):
            if x.size and not np.isfinite(x).all():
                raise UsageError(
                    f"the model gives NaN or Inf in output {names[at]} (input {index})",
                    hint="mend the model, or give --calibration data that it can work on",
                )
            if not np.isfinite(y).all():
                raise ConversionError(
                    f"output {names[at]} of the model made has NaN or Inf (input {index})"
                )
            off = np.abs(x.astype(np.float64) - y.astype(np.float64))
            worst[at] = max(worst[at], float(off.max(initial=0.0)))
            signal, noise = powers(x, y)
            totals[at] = totals[at][0] + signal, totals[at][1] + noise
    return tuple(
        OutputDifference(name, largest, decibel(*total))
        for name, largest, total in zip(names, worst, totals, strict=True)
    )


def answers(run: Callable[[_Input], Sequence[Array]], sample: _Input, index: int) -> list[Array]:
    """One inference of the user's own model; `index` is the sample's number in messages.

    Raises:
        UsageError: the runtime can't run the model on this input.
    """
    try:
        return list(run(sample))
    except EdgewrightError:
        raise
    except Exception as error:
        raise UsageError(
            f"the model fails on input {index}: {first_line(error)}",
            hint="the data are not what the model takes (an index out of range, for example)",
        ) from error


def _add(
    tally: _Tally, metric: Metric, floats: list[Array], sample: Sample, index: int, place: str
) -> None:
    try:
        outputs = tally.model.run(sample.inputs)
    except EdgewrightError:
        raise
    except Exception as error:
        # Whatever the runtime raises is this candidate's failure, and the others go on.
        tally.broken = f"fails at sample {index}: {first_line(error)}"
        return
    for port, output in zip(tally.model.artifact.outputs, outputs, strict=True):
        if not np.isfinite(output).all():
            tally.broken = f"gives NaN or Inf in output {port.source_name} at sample {index}"
            return
    value = _value(metric, outputs, floats, sample, place)
    if not np.isfinite(value):
        tally.broken = f"gives {value} by the metric {metric.name} at sample {index}"
        return
    tally.scores.append(value)
    for x, y in zip(floats, outputs, strict=True):
        signal, noise = powers(x, y)
        tally.signal, tally.noise = tally.signal + signal, tally.noise + noise
    tally.cosines.append(_mean([cosine(x, y) for x, y in zip(floats, outputs, strict=True)]))


def _value(
    metric: Metric, outputs: list[Array], floats: list[Array], sample: Sample, place: str
) -> float:
    try:
        return metric.score(outputs, floats, sample.label)
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from error


def _finite_value(metric: Metric, floats: list[Array], sample: Sample, place: str) -> float:
    value = _value(metric, floats, floats, sample, place)
    if not np.isfinite(value):
        raise UsageError(f"{place}: the metric {metric.name} gave {value}, not a finite number")
    return value


def _refuse_nan(floats: list[Array], reference: Artifact, index: int) -> None:
    for port, output in zip(reference.outputs, floats, strict=True):
        if not np.isfinite(output).all():
            raise UsageError(
                f"the float model gives NaN or Inf in output {port.source_name} at sample {index}",
                hint="no quantization can be proven against that; mend the model or the data",
            )


def _judge(
    tally: _Tally,
    float_scores: list[float],
    dataset: Dataset,
    metric: Metric,
    max_drop: float | None,
) -> Evaluation:
    count, float_score = len(float_scores), _mean(float_scores)
    if tally.broken:
        return Evaluation(
            metric.name, count, dataset.description, None, float_score, None, None, max_drop,
            "broken", tally.broken, None, None,
        )  # fmt: skip
    score = _mean(tally.scores)
    drop = metric.drop(float_score, score)
    interval = _interval(metric, float_scores, tally.scores)
    verdict, reason = judge_drop(drop, interval, max_drop, count)
    return Evaluation(
        metric.name, count, dataset.description, score, float_score, drop, interval, max_drop,
        verdict, reason, decibel(tally.signal, tally.noise), _mean(tally.cosines),
    )  # fmt: skip


def judge_drop(
    drop: float, interval: tuple[float, float] | None, max_drop: float | None, count: int
) -> tuple[Verdict, str]:
    """The verdict on a paired drop, by its interval and never by its point."""
    if max_drop is None:
        return "undecided", "no allowed drop was stated"
    if interval is None:
        return "undecided", (
            f"{count} samples are too few to decide; needs at least {MIN_BOOTSTRAP_SAMPLES}"
        )
    low, high = interval
    told = f"drop {drop:+.4f} [{low:+.4f}, {high:+.4f}]"
    if high <= max_drop:
        return "proven", f"{told} is within {max_drop:g}"
    if low > max_drop:
        return "exceeds", f"{told} is beyond {max_drop:g}"
    needed = samples_to_resolve(drop, interval, count, max_drop)
    if needed is None:
        return "undecided", f"{told} is not within {max_drop:g}"
    return "undecided", (
        f"{told} is not proven within {max_drop:g}; needs about {needed} samples to decide"
    )


def _interval(
    metric: Metric, float_scores: list[float], scores: list[float]
) -> tuple[float, float] | None:
    if metric.higher_is_better and {*float_scores, *scores} <= {0.0, 1.0}:
        return binary_interval(float_scores, scores)
    drops = np.asarray(
        [metric.drop(x, y) for x, y in zip(float_scores, scores, strict=True)], dtype=np.float64
    )
    return mean_interval(drops)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
