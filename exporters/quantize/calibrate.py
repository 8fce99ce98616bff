"""Ranges of activations from samples, one sample at a time and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ..runtime import first_line
from .recipe import Calibration

Range = tuple[float, float]
Tap = Callable[[Mapping[str, npt.NDArray[np.generic]]], Mapping[str, npt.NDArray[np.generic]]]
"""Runs the float model on one sample and gives every float activation by its name."""

_BINS = 4096


class Histogram:
    """Counts over [-limit, limit] with a limit that doubles when a value falls outside.

    Doubling folds pairs of bins into one, so that no value is lost or counted twice and memory
    does not grow with the number of samples.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)
        self.limit = 0.0
        self.minimum = np.inf
        self.maximum = -np.inf

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Counts the values of a finite array."""
        flat = values.ravel().astype(np.float32, copy=False)
        low, high = float(flat.min()), float(flat.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._grow(max(-low, high))
        if self.limit == 0.0:  # nothing but zeros so far
            self.counts[_BINS // 2] += flat.size
            return
        # The factor is a power of two: no value is rounded into its neighbour's bin.
        indices = np.floor(flat.astype(np.float64) * (_BINS / (2 * self.limit))).astype(np.int64)
        indices += _BINS // 2
        np.clip(indices, 0, _BINS - 1, out=indices)
        self.counts += np.bincount(indices, minlength=_BINS)

    def _grow(self, needed: float) -> None:
        if needed == 0.0:
            return
        if self.limit == 0.0:
            # A power of two: doubling stays exact.
            self.limit = float(2.0 ** np.ceil(np.log2(needed)))
        while needed > self.limit:
            folded = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(_BINS, dtype=np.int64)
            self.counts[_BINS // 4 : _BINS - _BINS // 4] = folded
            self.limit *= 2

    def range(self, calibration: Calibration) -> Range:
        """The range to represent; never wider than what was seen."""
        if calibration.method == "min-max" or self.limit == 0.0:
            return self.minimum, self.maximum
        assert calibration.percentile is not None
        tail = (1 - calibration.percentile / 100) / 2
        share = np.cumsum(self.counts) / self.counts.sum()
        edges = np.linspace(-self.limit, self.limit, _BINS + 1)
        low = edges[np.searchsorted(share, tail, side="right")]
        high = edges[min(int(np.searchsorted(share, 1 - tail, side="left")) + 1, _BINS)]
        return max(float(low), self.minimum), min(float(high), self.maximum)


@dataclass(frozen=True)
class Statistics:
    """What calibration saw of every float activation, by the name of its tensor."""

    histograms: Mapping[str, Histogram]
    samples: int

    def ranges(self, calibration: Calibration) -> dict[str, Range]:
        """(low, high) of every activation by the recipe's method."""
        return {name: h.range(calibration) for name, h in self.histograms.items()}


def collect(
    tap: Tap,
    samples: Iterable[Mapping[str, npt.NDArray[np.generic]]],
    on_sample: Callable[[int], None] = lambda done: None,
) -> Statistics:
    """Runs the float model over the samples and counts what its activations hold.

    Raises:
        UsageError: the model fails on a sample, or an activation holds NaN or Inf; the message
            names the tensor and the sample.
    """
    histograms: dict[str, Histogram] = {}
    count = 0
    for index, sample in enumerate(samples):
        try:
            seen = tap(sample)
        except Exception as error:
            raise UsageError(
                f"the float model fails on calibration sample {index}: {first_line(error)}",
                hint="the data are not what the model takes (an index out of range, for example)",
            ) from error
        for name, values in seen.items():
            if values.size == 0:
                continue
            if not np.isfinite(values).all():
                raise UsageError(
                    f"calibration sample {index} gives NaN or Inf in tensor {name}",
                    hint="mend the model or leave this sample out",
                )
            histograms.setdefault(name, Histogram()).add(values)
        count = index + 1
        on_sample(count)
    if count == 0:
        raise UsageError("there are no calibration samples")
    return Statistics(histograms, count)
