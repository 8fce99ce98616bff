"""Candidates against their float model, sample by sample, on the same data."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import EdgewrightError, UsageError
from .artifact import Array, Artifact
from .data import Dataset, Sample
from .evaluate import Evaluation, Verdict, answers, judge_drop, require_labels
from .metrics import Metric, cosine, decibel, powers
from .paired import MIN_BOOTSTRAP_SAMPLES, binary_interval, mean_interval
from .runtime import LoadedArtifact, first_line

#: Samples and the float model's answers are kept in memory up to this.
KEPT_BYTES = 256_000_000

#: After so many samples, then twice as many and so on, it is asked whether a candidate is lost.
_FIRST_CHECK = 8


@dataclass
class _Tally:
    """What accumulates for one candidate."""

    model: LoadedArtifact
    drops: npt.NDArray[np.float64]
    scores: list[float]
    run: set[int] = field(default_factory=set)
    cosines: list[float] = field(default_factory=list)
    signal: float = 0.0
    noise: float = 0.0
    broken: str = ""


@dataclass(frozen=True)
class Judgement:
    """An evaluation with what it rests on.

    Attributes:
        drops: of each sample, in the data's order, float64 [samples]; zero where a sample was not
            run because the answer was clear before.
    """

    evaluation: Evaluation
    drops: npt.NDArray[np.float64]


class Examiner:
    """Holds candidates against a float model, whose answers are computed once.

    Samples and answers are kept as long as they fit into `KEPT_BYTES`; beyond, the data are read
    and the float model is run again for each candidate, in bounded memory.
    """

    def __init__(
        self,
        reference: Artifact,
        dataset: Dataset,
        metric: Metric,
        max_drop: float | None,
        *,
        threads: int | None = None,
        saturating: bool = False,
        on_sample: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Runs the float model over the data.

        Args:
            threads: of the runtime; None for as many as there are cores.
            saturating: as of `runtime.load_model`.

        Raises:
            UsageError: the metric needs labels that are missing, or the float model gives NaN or
                fails.
        """
        require_labels(metric, dataset)
        self.metric, self.max_drop, self.dataset = metric, max_drop, dataset
        self._reference, self._saturating = reference, saturating
        self._threads = threads or len(os.sched_getaffinity(0))
        self._on_sample = on_sample
        self._float_model = LoadedArtifact(reference, threads=self._threads)
        self._scores: list[float] = []
        self._kept: list[tuple[Sample, list[Array]]] | None = []
        kept_bytes = 0
        for index, sample in enumerate(dataset):
            floats = self._answers(index, sample)
            self._scores.append(
                _finite_value(metric, floats, sample, f"{dataset.description}, sample {index}")
            )
            kept_bytes += sum(a.nbytes for a in (*sample.inputs.values(), *floats))
            if kept_bytes > KEPT_BYTES:
                self._kept = None
            elif self._kept is not None:
                self._kept.append((sample, floats))
            on_sample(index + 1, len(dataset))

    @property
    def samples(self) -> int:
        return len(self._scores)

    @property
    def own(self) -> Evaluation:
        """The float model held against itself."""
        score = _mean(self._scores)
        return Evaluation(
            self.metric.name, self.samples, self.dataset.description, score, score, 0.0, None,
            self.max_drop, "reference", "the float model", None, 1.0,
        )  # fmt: skip

    @property
    def samples_lacking(self) -> str | None:
        """Why not even an identical model could be proven with so few samples; None if it could."""
        if self.max_drop is None:
            return "no allowed drop was stated"
        interval = self.interval_of(self._scores)
        needed = MIN_BOOTSTRAP_SAMPLES
        if interval is not None:
            reach = interval[1]
            if reach <= self.max_drop:
                return None
            if self.max_drop == 0:
                return "no number of samples proves that nothing at all is lost"
            # Without one answer changed, n samples reach to c / (n + c) (Tango 1998).
            room = 1 / max(self.max_drop, 1e-9) - 1
            needed = math.ceil(self.samples * reach / (1 - reach) * room)
        return (
            f"{self.samples} samples can't prove a drop within {self.max_drop:g}, not even of an "
            f"identical model: it takes {needed} or more"
        )

    def judge(
        self, candidate: Artifact, *, worst_first: npt.NDArray[np.float64] | None = None
    ) -> Judgement:
        """Runs a candidate over the data.

        Args:
            worst_first: drops of a similar candidate. Samples are taken in their order, and no more
                once the candidate can't be proven any longer, however good its other answers are.
        """
        try:
            model = LoadedArtifact(candidate, threads=self._threads, saturating=self._saturating)
        except UsageError as error:
            return self._broken(error.message)
        tally = _Tally(model, np.zeros(self.samples), list(self._scores))
        check = _FIRST_CHECK
        for done, (index, sample, floats) in enumerate(self._pairs(worst_first), 1):
            self._add(tally, index, sample, floats)
            if tally.broken:
                return self._broken(tally.broken)
            self._on_sample(done, self.samples)
            if worst_first is not None and done == check and done < self.samples:
                check *= 2
                hopeless = self._hopeless(tally, done)
                if hopeless is not None:
                    return hopeless
        return self._judgement(tally)

    def interval_of(
        self, scores: list[float], methods: Sequence[str] = ("percentile", "BCa")
    ) -> tuple[float, float] | None:
        """The interval that decides on a candidate with these scores.

        Args:
            methods: for scores that are no proportions, as of `paired.mean_interval`.
        """
        if self.metric.is_proportion is not False and {*self._scores, *scores} <= {0.0, 1.0}:
            return binary_interval(self._scores, scores)
        return mean_interval(_drops(self.metric, self._scores, scores), methods)

    def _answers(self, index: int, sample: Sample) -> list[Array]:
        floats = answers(self._float_model.run, sample.inputs, index)
        _refuse_nan(floats, self._reference, index)
        return floats

    def _pairs(
        self, worst_first: npt.NDArray[np.float64] | None
    ) -> Iterator[tuple[int, Sample, list[Array]]]:
        if self._kept is None:
            for index, sample in enumerate(self.dataset):
                yield index, sample, self._answers(index, sample)
            return
        order = (
            range(self.samples)
            if worst_first is None
            else np.argsort(-worst_first, kind="stable").tolist()
        )
        for index in order:
            yield index, *self._kept[index]

    def _add(self, tally: _Tally, index: int, sample: Sample, floats: list[Array]) -> None:
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
        place = f"{self.dataset.description}, sample {index}"
        value = _value(self.metric, outputs, floats, sample, place)
        if not np.isfinite(value):
            tally.broken = f"gives {value} by the metric {self.metric.name} at sample {index}"
            return
        tally.scores[index] = value
        tally.run.add(index)
        tally.drops[index] = self.metric.drop(self._scores[index], value)
        for x, y in zip(floats, outputs, strict=True):
            signal, noise = powers(x, y)
            tally.signal, tally.noise = tally.signal + signal, tally.noise + noise
        tally.cosines.append(_mean([cosine(x, y) for x, y in zip(floats, outputs, strict=True)]))

    def _broken(self, why: str) -> Judgement:
        evaluation = Evaluation(
            self.metric.name, self.samples, self.dataset.description, None, _mean(self._scores),
            None, None, self.max_drop, "broken", why, None, None,
        )  # fmt: skip
        return Judgement(evaluation, np.zeros(self.samples))

    def _hopeless(self, tally: _Tally, done: int) -> Judgement | None:
        """The judgement on a candidate that is lost however good its other answers are."""
        if self.max_drop is None or self.metric.best is None:
            return None
        scores = [
            score if index in tally.run else self.metric.best
            for index, score in enumerate(tally.scores)
        ]
        # The end of 'percentile' alone only falls as samples turn out well; the final end, the
        # wider of two, is no lower.
        interval = self.interval_of(scores, ("percentile",))
        if interval is None or interval[1] <= self.max_drop:
            return None
        drop = self.metric.drop(_mean(self._scores), _mean(scores))
        reason = (
            f"drop at least {drop:+.4f}, up to {interval[1]:+.4f} and so not within "
            f"{self.max_drop:g}: clear after {done} of {self.samples} samples"
        )
        verdict: Verdict = "exceeds" if interval[0] > self.max_drop else "undecided"
        evaluation = Evaluation(
            self.metric.name, self.samples, self.dataset.description, None, _mean(self._scores),
            drop, interval, self.max_drop, verdict, reason, None, None,
        )  # fmt: skip
        return Judgement(evaluation, tally.drops)

    def _judgement(self, tally: _Tally) -> Judgement:
        score, float_score = _mean(tally.scores), _mean(self._scores)
        drop = self.metric.drop(float_score, score)
        interval = self.interval_of(tally.scores)
        verdict, reason = judge_drop(drop, interval, self.max_drop, self.samples)
        evaluation = Evaluation(
            self.metric.name, self.samples, self.dataset.description, score, float_score, drop,
            interval, self.max_drop, verdict, reason, decibel(tally.signal, tally.noise),
            _mean(tally.cosines),
        )  # fmt: skip
        return Judgement(evaluation, tally.drops)


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


def _drops(
    metric: Metric, float_scores: list[float], scores: list[float]
) -> npt.NDArray[np.float64]:
    return np.asarray(
        [metric.drop(x, y) for x, y in zip(float_scores, scores, strict=True)], dtype=np.float64
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
