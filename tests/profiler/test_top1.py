"""Whether two sets of answers name the same class."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.profiler.result import Top1Difference
from edgewright.profiler.top1 import KEPT, compare_top1


def test_where_the_host_says_one_and_the_device_another() -> None:
    host = [np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.3, 0.7], [0.1, 0.2]])]
    device = [np.array([[0.1, 0.9], [0.4, 0.6]]), np.array([[0.3, 0.7], [0.1, 0.2]])]
    found = compare_top1(device, host)
    assert found is not None
    assert found.agreement == 0.75
    assert found.differences == (Top1Difference(input=0, row=1, host=0, device=1),)


def test_a_tie_has_no_first() -> None:
    found = compare_top1([np.array([[1.0, 2.0, 2.5]])], [np.array([[1.0, 2.0, 2.0]])])
    assert found is not None and found.agreement == 1


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 3, 3), ()])
def test_what_is_no_row_of_scores_has_no_top_1(shape: tuple[int, ...]) -> None:
    assert compare_top1([np.zeros(shape)], [np.zeros(shape)]) is None


def test_all_count_and_the_first_are_kept() -> None:
    host = np.eye(2)[np.zeros(50, int)]
    found = compare_top1([host[:, ::-1]], [host])
    assert found is not None and found.agreement == 0 and len(found.differences) == KEPT
