"""What calibration keeps of a model, and the ranges that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ...errors import UsageError
from ...targets.profile import Format
from .grid import Doubles, Floats, Grid
from .methods import find_range
from .recipe import RangeMethod
from .tensor_statistics import ChannelStatistics, TensorStatistics

_T = TypeVar("_T")


@dataclass(frozen=True)
class Origin:
    """What statistics are of.

    Attributes:
        model_format, model_sha256: the float model.
        data_identity, data_description: as of `Dataset`.
    """

    model_format: Format
    model_sha256: str
    data_identity: str
    data_description: str = field(compare=False)


@dataclass(frozen=True)
class Collected:
    """What is kept beyond the statistics of every tensor as a whole.

    Attributes:
        channel_axes: the channels' axis of tensors whose channels are looked at, by name; negative
            ones count from the end.
        covariances: tensors (with channels) whose second moments across channels are kept.
        per_channel: tensors (with channels) that get a histogram for each channel.
    """

    channel_axes: Mapping[str, int] = field(default_factory=dict)
    covariances: frozenset[str] = frozenset()
    per_channel: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Statistics:
    """What calibration saw of a model's float activations, by the names of their tensors.

    Attributes:
        samples: how many were run.
        complete: whether these were all of the data.
        tensors: of each tensor as a whole.
        channels: of the channels of each tensor whose channels are looked at.
        per_channel: with a histogram for each channel, where that was asked for.
    """

    origin: Origin
    collected: Collected
    samples: int
    complete: bool
    tensors: Mapping[str, TensorStatistics]
    channels: Mapping[str, ChannelStatistics]
    per_channel: Mapping[str, TensorStatistics]

    @property
    def has_covariances(self) -> bool:
        """Whether second moments across channels were asked for."""
        return bool(self.collected.covariances)

    def range(self, tensor: str, grid: Grid, method: RangeMethod) -> tuple[float, float]:
        """The range (low, high) of a tensor for a grid to represent; never wider than was seen.

        Raises:
            UsageError: the statistics hold no such tensor.
        """
        low, high = find_range(_of(self.tensors, tensor, "nothing of tensor"), grid, method)
        return float(low[0]), float(high[0])

    def channel_ranges(
        self, tensor: str, grid: Grid, method: RangeMethod
    ) -> tuple[Doubles, Doubles]:
        """The same for each channel: (low, high), float64 [channels].

        Raises:
            UsageError: the tensor has no histograms of channels.
        """
        found = _of(self.per_channel, tensor, "no histograms of the channels of")
        return find_range(found, grid, method)

    def means(self, tensor: str) -> Doubles:
        """The mean of each channel, float64 [channels].

        Raises:
            UsageError: its channels were not looked at.
        """
        return self._channels(tensor).mean

    def channel_minima(self, tensor: str) -> Doubles:
        """The smallest value of each channel, float64 [channels].

        Raises:
            UsageError: its channels were not looked at.
        """
        return self._channels(tensor).minimum

    def channel_maxima(self, tensor: str) -> Doubles:
        """The largest value of each channel, float64 [channels].

        Raises:
            UsageError: its channels were not looked at.
        """
        return self._channels(tensor).maximum

    def covariance(self, tensor: str) -> Floats | None:
        """E[x xᵀ] across channels, uncentred, float32 [channels, channels]; None if not kept."""
        found = self.channels.get(tensor)
        if found is None or found.covariance is None:
            return None
        mean: Floats = found.covariance / np.float32(max(found.count, 1))
        return mean

    def _channels(self, tensor: str) -> ChannelStatistics:
        return _of(self.channels, tensor, "nothing of the channels of")


def _of(mapping: Mapping[str, _T], tensor: str, lack: str) -> _T:
    if tensor not in mapping:
        raise UsageError(
            f"the calibration statistics hold {lack} {tensor}",
            hint="calibrate again with --calibration DATA",
        )
    return mapping[tensor]
