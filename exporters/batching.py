"""Several samples as one inference's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from ..errors import UsageError
from .artifact import Port
from .data import Sample


def in_batches(
    samples: Sequence[Sample], ports: Sequence[Port], size: int, count: int
) -> list[Sample]:
    """Puts samples together along their first dimension, from the first again where they end.

    Args:
        samples: at least one, each with a first dimension of 1.
        ports: the model's inputs.
        size: samples in each batch.
        count: batches.

    Raises:
        UsageError: the model takes no batches: an input's first dimension is fixed.
    """
    if size == 1:
        return list(samples[:count])
    for port in ports:
        shape = port.source_shape
        if not shape or shape[0] not in (None, size):
            raise UsageError(
                f"input {port.spec.describe()} takes no batch of {size}: its first dimension is "
                "fixed",
                hint="export the model with an open batch dimension, or leave --batch out",
            )
    endless = cycle(samples)
    return [
        Sample(
            {
                port.source_name: np.concatenate(
                    [sample.inputs[port.source_name] for sample in batch]
                )
                for port in ports
            }
        )
        for batch in (list(islice(endless, size)) for _ in range(count))
    ]
