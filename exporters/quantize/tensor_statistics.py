"""Streaming statistics of one activation: small, of fixed size, and enough for any range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .grid import Doubles, Floats

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.generic]

#: Bins of each histogram; half of them for each sign.
BINS = 4096
#: Values of one tensor in one sample that enter its histogram; of larger ones a strided subset.
COUNTED = 65536
#: Weight of what was before in a moving average: that of PyTorch's MovingAverageMinMaxObserver
#: (averaging_constant=0.01) and of ONNX Runtime's calibrators (the same).
MOMENTUM = 0.99
#: Channels up to which covariances are kept; float32 [4096, 4096] is 64 MiB.
MAX_COVARIANCE = 4096

# OpenBLAS starts threads for dot products longer than 10000, which costs more than it gives.
_RUN = 8192
_RUNS = 8
_SHORT = 128


@dataclass(eq=False)
class TensorStatistics:
    """Streaming statistics of one tensor (one channel here) or of each of its channels.

    Extremes and moments are of every value. The histogram is of every value where a sample has at
    most `COUNTED` of them per channel; of more it takes every n-th, where n has no divisor in
    common with their number, so that it walks through all rows, columns and channels, and starts
    at another place in each sample. Each then counts n-fold, and the sample's extremes once.

    Bins span [-limit, limit]. A limit is a power of two and doubles when a value falls outside,
    which folds pairs of bins into one: no value is lost, and memory does not grow.

    Attributes, one entry for each channel:
        samples, count: how many samples and values were added.
        minimum, maximum: infinite, and the wrong way round, where there was no value yet.
        average_minimum, average_maximum: moving averages of the samples' extremes.
        pivot: what the sums are about: the mean of the first sample.
        powers: [channels, 4], sums of (value - pivot)^k for k = 1...4.
        limit, counts, zeros: the histogram, counts [channels, BINS], and the exact zeros in it.
    """

    samples: Counts
    count: Counts
    minimum: Doubles
    maximum: Doubles
    average_minimum: Doubles
    average_maximum: Doubles
    pivot: Doubles
    powers: Doubles
    limit: Doubles
    zeros: Counts
    counts: Counts

    @classmethod
    def empty(cls, channels: int = 1) -> TensorStatistics:
        """Statistics of nothing yet."""
        return cls(
            samples=np.zeros(channels, np.int64),
            count=np.zeros(channels, np.int64),
            minimum=np.full(channels, np.inf),
            maximum=np.full(channels, -np.inf),
            average_minimum=np.zeros(channels),
            average_maximum=np.zeros(channels),
            pivot=np.zeros(channels),
            powers=np.zeros((channels, 4)),
            limit=np.zeros(channels),
            zeros=np.zeros(channels, np.int64),
            counts=np.zeros((channels, BINS), np.int64),
        )

    @property
    def channels(self) -> int:
        return self.samples.size

    def add(self, values: Values) -> None:
        """Counts one sample.

        Args:
            values: real numbers, [channels, n]; any shape where there is one channel.

        Raises:
            FloatingPointError: NaN or Inf among them; nothing was counted.
        """
        rows = as_floats(values).reshape(self.channels, -1)
        if rows.size == 0:
            return
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        require_finite(low, high)
        first = self.count == 0
        self.minimum = np.minimum(self.minimum, low)
        self.maximum = np.maximum(self.maximum, high)
        self.average_minimum += np.where(first, 1.0, 1 - MOMENTUM) * (low - self.average_minimum)
        self.average_maximum += np.where(first, 1.0, 1 - MOMENTUM) * (high - self.average_maximum)
        if first.any():
            # float32, so that the difference from it is exact where it matters.
            means = rows.mean(axis=1, dtype=np.float64).astype(np.float32)
            self.pivot = np.where(first, means, self.pivot)
        self.powers += _power_sums(rows, self.pivot, low, high)
        self._widen(np.maximum(-low, high))
        self._count(rows, low, high)
        self.count += rows.shape[1]
        self.samples += 1

    @property
    def mean(self) -> Doubles:
        """Of all values; 0 where there were none."""
        return self.pivot + self._moment(0)

    @property
    def variance(self) -> Doubles:
        """Of all values, about their mean (divided by their number)."""
        return np.maximum(self._moment(1) - self._moment(0) ** 2, 0.0)

    @property
    def kurtosis(self) -> Doubles:
        """The fourth standardized moment: 3 for a normal distribution; NaN without variance."""
        shift = self._moment(0)
        fourth = (
            self._moment(3) - 4 * shift * self._moment(2) + 6 * shift**2 * self._moment(1)
        ) - 3 * shift**4
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.variance > 0, fourth / self.variance**2, np.nan)

    def edges(self, channel: int) -> Doubles:
        """The bins' limits, [BINS + 1]."""
        return np.linspace(-self.limit[channel], self.limit[channel], BINS + 1)

    def _moment(self, power: int) -> Doubles:
        moment: Doubles = self.powers[:, power] / np.maximum(self.count, 1)
        return moment

    def _widen(self, needed: Doubles) -> None:
        new = (self.limit == 0) & (needed > 0)
        if new.any():
            # Powers of two: doubling stays exact, and so does scaling values by them.
            self.limit[new] = 2.0 ** np.ceil(np.log2(needed[new]))
        while (narrow := needed > self.limit).any():
            folded = self.counts[narrow].reshape(-1, BINS // 2, 2).sum(axis=2)
            self.counts[narrow] = 0
            self.counts[narrow, BINS // 4 : BINS - BINS // 4] = folded
            self.limit[narrow] *= 2

    def _count(self, rows: Floats, low: Doubles, high: Doubles) -> None:
        stride = _stride(rows.shape[1])
        start = int(self.samples[0]) % stride
        counted = np.ascontiguousarray(rows[:, start::stride])
        self.counts += stride * self._bins_of(counted)
        self.zeros += stride * np.count_nonzero(counted == 0, axis=1)
        if stride > 1:
            self.counts += self._bins_of(np.stack([low, high], axis=1).astype(np.float32))

    def _bins_of(self, rows: Floats) -> Counts:
        # In float32 the factor of a limit below 2^-116 would be infinite.
        exact = self.limit.min(initial=1.0, where=self.limit > 0) < 2.0**-100
        dtype = np.float64 if exact else np.float32
        factor = np.divide(BINS // 2, self.limit, out=np.zeros(self.channels), where=self.limit > 0)
        places = np.multiply(rows, factor[:, None].astype(dtype), dtype=dtype)
        np.floor(places, out=places)
        indices = np.empty(places.shape, np.int64)
        # One bin more than there are, for values at the limit itself.
        own = BINS // 2 + (BINS + 1) * np.arange(self.channels)
        np.add(places, own[:, None], out=indices, casting="unsafe")
        found = np.bincount(indices.ravel(), minlength=self.channels * (BINS + 1))
        bins = found.reshape(self.channels, BINS + 1)
        bins[:, BINS - 1] += bins[:, BINS]
        return bins[:, :BINS]


@dataclass(eq=False)
class ChannelStatistics:
    """What is kept of each channel of an activation, beside the statistics of the whole.

    Attributes:
        axis: that of the channels, from the left.
        count: values of each channel.
        minimum, maximum, total: [channels].
        covariance: sum of x xᵀ over all positions, float32 [channels, channels]; None where it was
            not asked for, or there are more channels than `MAX_COVARIANCE`.
    """

    axis: int
    count: int
    minimum: Doubles
    maximum: Doubles
    total: Doubles
    covariance: Floats | None

    @classmethod
    def empty(cls, axis: int, channels: int, covariance: bool = False) -> ChannelStatistics:
        """Statistics of nothing yet."""
        kept = covariance and channels <= MAX_COVARIANCE
        return cls(
            axis=axis,
            count=0,
            minimum=np.full(channels, np.inf),
            maximum=np.full(channels, -np.inf),
            total=np.zeros(channels),
            covariance=np.zeros((channels, channels), np.float32) if kept else None,
        )

    def add(self, values: Values) -> None:
        """Counts one sample.

        Args:
            values: real numbers, with `channels` entries along `axis`.

        Raises:
            FloatingPointError: NaN or Inf among them; nothing was counted.
        """
        array = as_floats(values)
        if array.size == 0:
            return
        inner = math.prod(array.shape[self.axis + 1 :])
        folded = array.reshape(-1, array.shape[self.axis], inner)
        low = folded.min(axis=(0, 2)).astype(np.float64)
        high = folded.max(axis=(0, 2)).astype(np.float64)
        require_finite(low, high)
        self.minimum = np.minimum(self.minimum, low)
        self.maximum = np.maximum(self.maximum, high)
        # Sums of float32 are exact enough unless they could overflow.
        overflows = max(-low.min(), high.max()) > 1e25
        self.total += _channel_sums(folded, np.float64 if overflows else np.float32)
        self.count += array.size // low.size
        if self.covariance is not None:
            rows = channel_rows(array, self.axis)
            self.covariance += rows @ rows.T

    @property
    def mean(self) -> Doubles:
        """Of each channel; 0 where there was no value."""
        return self.total / max(self.count, 1)


def as_floats(values: Values) -> Floats:
    """Real numbers as contiguous float32, copied only where they are not."""
    return np.ascontiguousarray(values, dtype=np.float32)


def channel_rows(array: Floats, axis: int) -> Floats:
    """[channels, n]; a view where that can be."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def require_finite(low: Doubles, high: Doubles) -> None:
    """That extremes are finite, and hence all values between: NumPy's carry NaN along.

    Raises:
        FloatingPointError: they are not.
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise FloatingPointError("NaN or Inf")


def _channel_sums(array: Floats, dtype: npt.DTypeLike) -> Doubles:
    """Sums of [outer, channels, inner] over outer and inner."""
    if array.shape[2] > 1:
        sums: Doubles = array.sum(axis=(0, 2), dtype=dtype).astype(np.float64)
        return sums
    # Along the first axis NumPy adds row by row: short runs keep float32's error small.
    rows = array[:, :, 0]
    whole = len(rows) - len(rows) % _SHORT
    runs = rows[:whole].reshape(-1, _SHORT, rows.shape[1]).sum(axis=1, dtype=dtype)
    rest = rows[whole:].sum(axis=0, dtype=np.float64)
    total: Doubles = runs.sum(axis=0, dtype=np.float64) + rest
    return total


def _power_sums(rows: Floats, pivot: Doubles, low: Doubles, high: Doubles) -> Doubles:
    """Sums of (row - pivot)^k, k = 1...4: [channels, 4]. Runs in float32, their sums in float64."""
    channels, length = rows.shape
    reach = np.maximum(high - pivot, pivot - low)
    largest, smallest = float(reach.max()), float(reach.min(initial=1.0, where=reach > 0))
    # Fourth powers have to stay within float32's range.
    dtype = np.float32 if largest < 1e8 and smallest > 1e-6 else np.float64
    about = pivot[:, None].astype(dtype)
    step = _RUN * max(1, _RUNS // channels)
    runs = np.zeros((channels, -(-min(step, length) // _RUN), _RUN), dtype)
    flat = runs.reshape(channels, -1)
    squares = np.empty_like(runs)
    sums = np.zeros((channels, 4))
    for start in range(0, length, step):
        part = rows[:, start : start + step]
        np.subtract(part, about, out=flat[:, : part.shape[1]], dtype=dtype)
        flat[:, part.shape[1] :] = 0
        np.multiply(runs, runs, out=squares)
        found = (
            runs.sum(axis=2),
            squares.sum(axis=2),
            *(np.vecdot(x, squares) for x in (runs, squares)),
        )
        sums += np.stack([each.sum(axis=1, dtype=np.float64) for each in found], axis=1)
    return sums


def _stride(length: int) -> int:
    stride = -(-length // COUNTED)
    while math.gcd(stride, length) > 1:
        stride += 1
    return stride
