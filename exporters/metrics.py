"""Metrics: what one answer is worth, so that two models can be compared sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .artifact import Array
from .user_code import blaming_user, load_function

Score = Callable[[Sequence[Array], Sequence[Array], Array | None], float]
"""(outputs, float model's outputs, label) -> score of one sample."""


@dataclass(frozen=True)
class Metric:
    """A score for each sample.

    Attributes:
        name: as the user names it.
        score: of one sample.
        needs_labels: whether samples without a label are an error.
        higher_is_better: the drop is float - candidate where True, candidate - float otherwise.
        meaning: one line for people.
        best: the best score that any answer can have; None where that is unknown.
        is_proportion: whether every score is 0 or 1; None where that depends on the model.
    """

    name: str
    score: Score
    needs_labels: bool
    higher_is_better: bool
    meaning: str
    best: float | None = None
    is_proportion: bool | None = None

    def drop(self, float_score: float, score: float) -> float:
        """How much worse the candidate is; negative where it is better."""
        return float_score - score if self.higher_is_better else score - float_score


def get_metric(name: str, base: Path | None = None) -> Metric:
    """A metric by name, or FILE.py:FUNCTION taking (outputs, label) and returning a number.

    Raises:
        UsageError: no such metric.
    """
    if name in METRICS:
        return METRICS[name]
    if ":" in name:
        return _user_metric(name, base)
    raise UsageError(
        f"no metric {name!r}", hint=f"one of {', '.join(METRICS)}, or FILE.py:FUNCTION"
    )


def cosine(reference: Array, approximation: Array) -> float:
    """Cosine of the angle between two arrays seen as vectors; 1 where both are all zero."""
    x, y = reference.astype(np.float64).ravel(), approximation.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    if lengths == 0:
        return float(not x.any() and not y.any())
    return float(np.clip(x @ y / lengths, -1, 1))


def powers(reference: Array, approximation: Array) -> tuple[float, float]:
    """Power of the signal and of the noise: (sum x^2, sum (x - y)^2)."""
    x, y = reference.astype(np.float64), approximation.astype(np.float64)
    return float(np.sum(x**2)), float(np.sum((x - y) ** 2))


def decibel(signal: float, noise: float) -> float | None:
    """SQNR in dB: 10 log10(signal / noise); None where one of them is zero."""
    if noise == 0 or signal == 0:
        return None
    return float(10 * np.log10(signal / noise))


def _top(k: int) -> Score:
    """Whether the label is among the first k; of a sequence, the share of positions where it is."""

    def score(outputs: Sequence[Array], _: Sequence[Array], label: Array | None) -> float:
        rows: npt.NDArray[Any] = _rows(outputs[0])
        if len(rows) > 1 and label is not None and label.size == len(rows):
            wanted = _class_indices(label, len(rows), rows.shape[1])
        else:
            rows = outputs[0].reshape(1, -1)
            wanted = np.asarray([_class_index(label, rows.shape[1])])
        right = rows[np.arange(len(rows)), wanted][:, None]
        # Classes that score more than the right one; ties go to the lower index, as in argmax.
        before = np.arange(rows.shape[1]) < wanted[:, None]
        better = (rows > right).sum(axis=1) + ((rows == right) & before).sum(axis=1)
        return float(np.mean(better < k))

    return score


def _class_index(label: Array | None, classes: int) -> int:
    if label is None or label.size != 1 or label.dtype.kind not in "iub":
        told = "nothing" if label is None else f"{label.dtype} of shape {label.shape}"
        raise UsageError(
            f"top-1 and top-5 need one class index per sample, not {told}",
            hint="one-hot labels: use argmax",
        )
    index = int(label.ravel()[0])
    if not 0 <= index < classes:
        raise UsageError(f"label {index} is outside the model's {classes} classes")
    return index


def _agreement(outputs: Sequence[Array], floats: Sequence[Array], _: Array | None) -> float:
    """Share of the positions, of which a classifier has one and a decoder one for each token."""
    return float(np.mean(_rows(outputs[0]).argmax(1) == _rows(floats[0]).argmax(1)))


def _nll(outputs: Sequence[Array], _: Sequence[Array], label: Array | None) -> float:
    """Mean negative log-likelihood of the labels in nats; output 0 is logits.

    Perplexity is exp(mean over all samples), so that a drop of ln(1.02) = 0.0198 is 2% more of it.
    """
    logits = _rows(outputs[0])
    right = logits[np.arange(len(logits)), _class_indices(label, *logits.shape)]
    return float(np.mean(_log_sum_exp(logits)[0] - right))


def _divergence(outputs: Sequence[Array], floats: Sequence[Array], _: Array | None) -> float:
    """KL(float || candidate) of the softmax of output 0's last axis in nats, over the positions.

    Kullback and Leibler 1951, "On information and sufficiency", Annals of Mathematical Statistics
    22:79-86. With p = softmax(x): sum p (x - y) + log sum exp y - log sum exp x.
    """
    x, y = _rows(floats[0]), _rows(outputs[0])
    (normalizer, weights), (other, _) = _log_sum_exp(x), _log_sum_exp(y)
    apart = (weights * (x - y)).sum(1, dtype=np.float64) / weights.sum(1, dtype=np.float64)
    return float(np.mean(apart + other - normalizer))


def _log_sum_exp(
    logits: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.floating[Any]]]:
    """log sum exp of each row, and exp(x - the row's maximum).

    Exponentials stay float32 and are added up in float64: 20 times as fast as scipy's logsumexp on
    a vocabulary of 32,000, which decides how long an evaluation takes, and right to 7 digits.
    """
    top = logits.max(1, keepdims=True)
    weights = np.exp(logits - top)
    return top[:, 0] + np.log(weights.sum(1, dtype=np.float64)), weights


def _rows(outputs: Array) -> npt.NDArray[np.floating[Any]]:
    """[positions, classes] in float32 or better: classes are the last axis longer than 1."""
    classes = next((size for size in reversed(outputs.shape) if size > 1), 1)
    return outputs.reshape(-1, classes).astype(np.result_type(outputs, np.float32), copy=False)


def _class_indices(label: Array | None, positions: int, classes: int) -> npt.NDArray[np.int64]:
    if label is None or label.size != positions or label.dtype.kind not in "iu":
        told = "nothing" if label is None else f"{label.dtype} of shape {label.shape}"
        raise UsageError(
            f"the metric needs a class index for each of the output's {positions} positions, "
            f"not {told}",
            hint="for a decoder: labels are its input ids, one token later",
        )
    indices = label.astype(np.int64).ravel()
    wrong = np.flatnonzero((indices < 0) | (indices >= classes))
    if wrong.size:
        raise UsageError(
            f"label {indices[wrong[0]]} at position {wrong[0]} is outside the model's {classes} "
            "classes"
        )
    return indices


def _truth(floats: Sequence[Array], label: Array | None, size: int) -> npt.NDArray[np.float64]:
    if label is None:
        return floats[0].astype(np.float64).ravel()
    if label.dtype.kind not in "iubf":
        raise UsageError(f"labels are {label.dtype}, not numbers")
    if label.size != size:
        raise UsageError(f"a label has {label.size} values, but the model's output {size}")
    return label.astype(np.float64).ravel()


def _mean_absolute(outputs: Sequence[Array], floats: Sequence[Array], label: Array | None) -> float:
    x = outputs[0].astype(np.float64).ravel()
    return float(np.mean(np.abs(x - _truth(floats, label, x.size))))


def _mean_squared(outputs: Sequence[Array], floats: Sequence[Array], label: Array | None) -> float:
    x = outputs[0].astype(np.float64).ravel()
    return float(np.mean((x - _truth(floats, label, x.size)) ** 2))


def _noise(outputs: Sequence[Array], floats: Sequence[Array], _: Array | None) -> float:
    found = [powers(x, y) for x, y in zip(floats, outputs, strict=True)]
    signal, noise = sum(p[0] for p in found), sum(p[1] for p in found)
    if noise == 0:
        return 0.0
    return noise / signal if signal > 0 else float("inf")


def _cosine(outputs: Sequence[Array], floats: Sequence[Array], _: Array | None) -> float:
    return float(np.mean([cosine(x, y) for x, y in zip(floats, outputs, strict=True)]))


def _user_metric(spec: str, base: Path | None) -> Metric:
    function = load_function(spec, "the metric", base)

    def score(outputs: Sequence[Array], _: Sequence[Array], label: Array | None) -> float:
        with blaming_user(f"the metric {spec}"):
            return float(function(list(outputs), label))

    return Metric(spec, score, False, True, "yours: higher is better")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", _top(1), True, True, "right class first", 1.0),
        Metric("top5", _top(5), True, True, "right class among the first five", 1.0),
        Metric(
            "agreement", _agreement, False, True, "same first class as the float model", 1.0, None
        ),
        Metric(
            "nll",
            _nll,
            True,
            False,
            "-ln(label's probability); +0.0198 is +2% perplexity",
            0.0,
            False,
        ),
        Metric(
            "kl",
            _divergence,
            False,
            False,
            "KL divergence from the float model, in nats",
            0.0,
            False,
        ),
        Metric("cosine", _cosine, False, True, "cosine to the float model's outputs", 1.0, False),
        Metric(
            "sqnr", _noise, False, False, "noise / signal power; 0.01 is 20 dB SQNR", 0.0, False
        ),
        Metric("mae", _mean_absolute, False, False, "mean absolute error of output 0", 0.0, False),
        Metric("mse", _mean_squared, False, False, "mean squared error of output 0", 0.0, False),
    )
}
