"""Rough relative times on this machine, for the search to weigh one layer against another.

What is reported of a device is measured by `profiler/`, in processes of their own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from ..artifact import Artifact
from ..data import Sample
from ..runtime import LoadedArtifact

_SECONDS = 0.2
_MIN_ROUNDS, _MAX_ROUNDS = 5, 200


def relative_times(
    reference: Artifact, others: Sequence[Artifact], sample: Sample
) -> tuple[float, ...]:
    """Median time of one inference of each, relative to the reference's, alternating."""
    # Exact integers would be slower where the fast kernels saturate: these are the fast ones.
    models = [LoadedArtifact(each, saturating=True) for each in (reference, *others)]
    for model in models:
        model.run(sample.inputs)
    times: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + _SECONDS * len(models)
    while len(times[0]) < _MIN_ROUNDS or (
        time.perf_counter() < end and len(times[0]) < _MAX_ROUNDS
    ):
        for model, own in zip(models, times, strict=True):
            start = time.perf_counter()
            model.run(sample.inputs)
            own.append(time.perf_counter() - start)
    base = median(times[0])
    return tuple(median(own) / base for own in times[1:])
