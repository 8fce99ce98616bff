"""Several samples as one inference's inputs."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Port
from edgewright.exporters.batching import in_batches
from edgewright.exporters.data import Sample
from edgewright.targets.facts import TensorSpec


def port(*shape: int | None) -> Port:
    return Port("x", TensorSpec(name="x", shape=shape, dtype="float32"))


SAMPLES = [Sample({"x": np.full((1, 2), index, np.float32)}) for index in range(3)]


def test_samples_are_used_in_turn() -> None:
    first, second = in_batches(SAMPLES, [port(None, 2)], 2, 2)
    assert [float(row[0]) for row in first.inputs["x"]] == [0, 1]
    assert [float(row[0]) for row in second.inputs["x"]] == [2, 0]


def test_one_sample_is_a_batch_as_it_is() -> None:
    assert in_batches(SAMPLES, [port(1, 2)], 1, 2) == SAMPLES[:2]


def test_a_fixed_first_dimension_takes_no_other_batch() -> None:
    assert in_batches(SAMPLES, [port(3, 2)], 3, 1)[0].inputs["x"].shape == (3, 2)
    for shape in ((1, 2), (), (2,)):
        with pytest.raises(UsageError, match="takes no batch of 3"):
            in_batches(SAMPLES, [port(*shape)], 3, 1)
