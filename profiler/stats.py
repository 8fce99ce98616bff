"""What samples say: percentiles, their confidence intervals, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from .result import LatencySummary

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
#: Resamples of the bootstrap; enough for two digits of a 95% interval (Efron & Tibshirani 1993,
#: "An Introduction to the Bootstrap", section 14.3).
RESAMPLES = 2000
#: A bootstrap over fewer rounds than this is too narrow to be believed.
MIN_PAIRS = 5
SEED = 20240229


def summarize(samples_ms: Sequence[float]) -> LatencySummary:
    """Percentiles (linear interpolation) and the intervals of p50 and p90, in milliseconds.

    Raises:
        ValueError: there is no sample.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarize")
    samples = np.asarray(samples_ms, dtype=np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return LatencySummary(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(samples.mean()),
        p50_interval=quantile_interval(samples, 0.5),
        p90_interval=quantile_interval(samples, 0.9),
    )


def quantile_interval(
    samples: Sequence[float] | Floats, quantile: float
) -> tuple[float, float] | None:
    """A 95% confidence interval of a quantile from order statistics, whatever the distribution.

    (Conover 1999, "Practical Nonparametric Statistics", section 3.2; the binomial ranks.) It covers
    the quantile with at least 95% of probability if samples are independent; those of a drifting
    device are not, which is why drift makes a run invalid.

    Returns:
        None where there are too few samples for an interval that is bounded on both sides.
    """
    from scipy.stats import binom

    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    count = len(ordered)
    tail = (1 - CONFIDENCE) / 2
    # Ranks from 1: P(sample `low` > quantile) and P(sample `high` < quantile) are both <= tail.
    low = int(binom.ppf(tail, count, quantile))
    high = int(binom.ppf(1 - tail, count, quantile)) + 1
    if low < 1 or high > count:
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


@dataclass(frozen=True)
class Comparison:
    """How long one run takes relative to another.

    Attributes:
        ratio: time of the run / time of the reference; below 1 is faster.
        interval: 95% confidence interval of the ratio; None where there is too little to tell.
        method: 'paired': by rounds that alternated; 'unpaired': two runs apart.
        pairs: rounds that were paired; 0 if unpaired.
    """

    ratio: float
    interval: tuple[float, float] | None
    method: Literal["paired", "unpaired"]
    pairs: int = 0

    @property
    def speedup(self) -> float:
        return 1 / self.ratio

    @property
    def is_faster(self) -> bool:
        """Proven to be faster: an unproven comparison is not."""
        return self.interval is not None and self.interval[1] < 1

    @property
    def is_slower(self) -> bool:
        return self.interval is not None and self.interval[0] > 1


class Timed(Protocol):
    """Samples in the order they were taken, and how many belong to each round."""

    @property
    def measurement(self) -> str: ...
    @property
    def samples_ms(self) -> tuple[float, ...]: ...
    @property
    def rounds(self) -> tuple[int, ...]: ...


def ratio_to(reference: Timed, run: Timed) -> Comparison:
    """Compares two runs of one measurement, round by round.

    Rounds of the two alternated, so what the device did at the time is in both and cancels: the
    ratio is the median over rounds of the ratio of the rounds' medians, its interval a percentile
    bootstrap over rounds (Efron & Tibshirani 1993, chapter 13).

    Raises:
        ValueError: they were not measured together, block by block in turn.
    """
    if reference.measurement != run.measurement:
        raise ValueError("runs of different measurements have no rounds in common")
    ratios = np.array(
        [
            own / other
            for own, other in zip(round_medians(run), round_medians(reference), strict=False)
        ]
    )
    return Comparison(
        float(np.median(ratios)), _interval((ratios,), np.median), "paired", len(ratios)
    )


def compare_runs(reference: Timed, run: Timed) -> Comparison:
    """Compares two runs: paired where they were measured together, else by their medians alone.

    The unpaired interval is a bootstrap of the ratio of medians that resamples whole rounds, since
    neighbouring samples are alike. It can't see what changed on the device between the two runs.
    """
    if reference.measurement == run.measurement:
        return ratio_to(reference, run)
    own, other = np.array(round_medians(run)), np.array(round_medians(reference))
    ratio = float(np.median(run.samples_ms) / np.median(reference.samples_ms))

    def ratio_of_medians(a: Floats, b: Floats, axis: int) -> Floats:
        return np.asarray(np.median(a, axis=axis) / np.median(b, axis=axis))

    return Comparison(ratio, _interval((own, other), ratio_of_medians), "unpaired")


def round_medians(run: Timed) -> list[float]:
    """The median of each round, in milliseconds."""
    ends = np.cumsum(run.rounds)
    blocks = np.split(np.asarray(run.samples_ms, dtype=np.float64), ends[:-1])
    return [float(np.median(block)) for block in blocks]


def _interval(
    samples: tuple[Floats, ...], statistic: Callable[..., Floats]
) -> tuple[float, float] | None:
    """A percentile bootstrap interval of a statistic; None where there are too few values."""
    if min(len(values) for values in samples) < MIN_PAIRS:
        return None
    from scipy.stats import bootstrap

    found = bootstrap(
        samples,
        statistic,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)
