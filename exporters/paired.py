"""95% confidence intervals of a paired drop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Below this many samples a bootstrap of the mean is not to be believed.
MIN_BOOTSTRAP_SAMPLES = 20

_CONFIDENCE = 0.95
_RESAMPLES = 5000


def binary_interval(float_scores: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """Interval of the difference of two paired proportions, float - candidate.

    Tango's score interval: all differences that McNemar's test, generalized to a difference other
    than zero, does not reject (Tango 1998, "Equivalence test and confidence interval for the
    difference in proportions for the paired-sample design", Statistics in Medicine 17:891-908).
    It stays honest where few or no answers differ: n samples without one give 3.84 / (n + 3.84).

    Args:
        float_scores, scores: 0 or 1 for each sample, in the same order; at least one sample.
    """
    lost = sum(1 for x, y in zip(float_scores, scores, strict=True) if x > y)
    won = sum(1 for x, y in zip(float_scores, scores, strict=True) if x < y)
    count = len(scores)
    # Mirroring gives the lower limit: it is the upper limit of the swapped pair, with its sign.
    return -_tango_upper(won, lost, count), _tango_upper(lost, won, count)


def _tango_upper(lost: int, won: int, count: int) -> float:
    from scipy.optimize import brentq
    from scipy.stats import norm

    limit = float(norm.ppf(0.5 + _CONFIDENCE / 2))
    observed = (lost - won) / count

    def excess(difference: float) -> float:
        # Root of the restricted maximum-likelihood equation for the probability of "won".
        a = 2 * count
        b = -lost - won + (2 * count - lost + won) * difference
        c = -won * difference * (1 - difference)
        won_rate = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = count * (2 * won_rate + difference * (1 - difference))
        if variance <= 0:
            return -limit
        return float((count * difference - (lost - won)) / math.sqrt(variance) - limit)

    if lost == count:
        return 1.0
    return float(brentq(excess, observed + 1e-12, 1 - 1e-12, xtol=1e-10))


def mean_interval(
    differences: npt.NDArray[np.float64], methods: Sequence[str] = ("percentile", "BCa")
) -> tuple[float, float] | None:
    """Bootstrap interval of the mean of paired differences: the wider of percentile and BCa.

    BCa corrects for skew (Efron 1987, "Better bootstrap confidence intervals", JASA 82:171-185),
    but is undefined where all differences are equal; then the interval is that one value. The end
    of 'percentile' alone never falls when a difference grows.

    Returns:
        None below `MIN_BOOTSTRAP_SAMPLES` samples.
    """
    if differences.size < MIN_BOOTSTRAP_SAMPLES:
        return None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy.stats import bootstrap

    intervals = [
        bootstrap(
            (differences,),
            np.mean,
            confidence_level=_CONFIDENCE,
            n_resamples=_RESAMPLES,
            batch=100,
            method=method,
            rng=np.random.default_rng(0),
        ).confidence_interval
        for method in methods
    ]
    lows = [interval.low for interval in intervals if math.isfinite(interval.low)]
    highs = [interval.high for interval in intervals if math.isfinite(interval.high)]
    return float(min(lows)), float(max(highs))


def samples_to_resolve(
    drop: float, interval: tuple[float, float], count: int, allowed: float
) -> int | None:
    """About how many samples would put the whole interval within the allowed drop.

    The half-width shrinks with the square root of the number of samples. None where the drop
    observed leaves no room: more samples would only confirm it.
    """
    room = allowed - drop
    width = interval[1] - drop
    if room <= width * 1e-9:  # or more samples than there are
        return None
    return math.ceil(count * max(1.0, (width / room) ** 2))
