"""Up or down at random, without bias."""

from __future__ import annotations

import hashlib

import numpy as np

from ..grid import Integers
from .base import Problem


def stochastic(problem: Problem) -> Integers:
    """Rounds up with the probability of the fraction that is cut off.

    The expectation of a rounded weight within the range is the weight itself (Gupta et al. 2015,
    arXiv:1502.02551, section 3). The numbers drawn follow from the seed and the weights: a layer
    gets the same wherever it stands in a model.
    """
    digest = hashlib.blake2b(problem.weights.tobytes(), digest_size=16).digest()
    seeds = [problem.seed, int.from_bytes(digest, "little")]
    draws = np.random.Generator(np.random.PCG64(seeds)).random(problem.weights.shape)
    grid, scale = problem.grid, problem.scale.astype(np.float64)
    lifted = np.floor(problem.weights.astype(np.float64) / scale + draws) + problem.zero_point
    return np.clip(lifted, grid.lowest, grid.highest).astype(np.int32)
