"""How far answers are from those of the float model, and whether a drop is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from ..errors import ConversionError, EdgewrightError, UsageError
from .artifact import Array, OutputDifference
from .data import Dataset, Sample
from .metrics import Metric, decibel, powers
from .paired import MIN_BOOTSTRAP_SAMPLES, samples_to_resolve
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
