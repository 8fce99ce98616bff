"""Statistics of a model whose channels equalization has scaled, without another calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .grid import Doubles
from .statistics import Statistics
from .tensor_statistics import ChannelStatistics, TensorStatistics


def rescaled(statistics: Statistics, factors: Mapping[str, Doubles]) -> Statistics:
    """Statistics with the channels of some tensors multiplied.

    Extremes, means and covariances of the channels are exact. Of the tensor as a whole only the
    extremes are known then, so that its range is these, whatever the method.

    Args:
        factors: positive, float64 [channels], by the tensor's name.
    """
    channels, tensors = dict(statistics.channels), dict(statistics.tensors)
    for name, factor in factors.items():
        if name not in channels or np.all(factor == 1):
            continue
        found = _scaled(channels[name], factor)
        channels[name] = found
        whole = TensorStatistics.empty()
        whole.add(np.asarray([found.minimum.min(), found.maximum.max()], dtype=np.float32))
        tensors[name] = whole
    return replace(statistics, channels=channels, tensors=tensors)


def _scaled(channels: ChannelStatistics, factor: Doubles) -> ChannelStatistics:
    covariance = channels.covariance
    if covariance is not None:
        covariance = (covariance * np.outer(factor, factor)).astype(covariance.dtype)
    return replace(
        channels,
        minimum=channels.minimum * factor,
        maximum=channels.maximum * factor,
        total=channels.total * factor,
        covariance=covariance,
    )
