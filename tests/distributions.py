"""Values that statistics and range methods are tried on, as lists of samples."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

_GENERATOR = np.random.default_rng(5)


def _float32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _normal(count: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return (_GENERATOR.normal(size=count) * scale + shift).astype(np.float32)


#: What real activations look like.
RANDOM = {
    "normal": [_normal(4000) for _ in range(3)],
    "normal, off zero": [_normal(4000, 0.3, 2.0) for _ in range(3)],
    "laplace": [_GENERATOR.laplace(size=9000).astype(np.float32)],
    "heavy tails": [_GENERATOR.standard_t(3, 9000).astype(np.float32)],
    "relu": [np.maximum(_normal(9000), 0)],
    "relu6": [np.clip(_normal(9000, 4), 0, 6)],
    "skewed": [_GENERATOR.gamma(0.5, size=9000).astype(np.float32)],
    "samples unlike each other": [_normal(3000, 0.5 + k) for k in range(4)],
}

ADVERSARIAL = {
    "constant": [np.full(100, 3.7, np.float32)],
    "constant negative": [np.full(100, -1e-3, np.float32)],
    "one value": [_float32(0.3)],
    "zeros": [np.zeros(50, np.float32)],
    "negative zeros": [np.full(50, -0.0, np.float32)],
    "zeros, then more": [np.zeros(50, np.float32), _float32(2.0, -1.0)],
    "one outlier": [np.append(_normal(5000), np.float32(1e6))],
    "one negative outlier": [np.append(_normal(5000), np.float32(-1e6))],
    "all negative": [-_GENERATOR.random(500).astype(np.float32) - 5],
    "all positive": [_GENERATOR.random(500).astype(np.float32) + 5],
    "subnormal": [_float32(1e-45, 3e-45, -1e-45)],
    "subnormal, then huge": [_float32(1e-45), _float32(3.4e38)],
    "the largest there are": [_float32(3.4e38, -3.4e38, 1.0)],
    "powers of two": [_float32(*(2.0**k for k in range(-20, 20)))],
    "the limits themselves": [_float32(-1, 1), _float32(-2, 2), _float32(-4, 4)],
    "growing": [_normal(300, 3.0**k) for k in range(12)],
    "a mask": [_float32(0.0, 0.0, -3e38, 0.0), _normal(100)],
    "no values, then some": [np.zeros(0, np.float32), _float32(1.0, -2.0)],
}

ANY_FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)
SAMPLES = st.lists(
    hnp.arrays(np.float32, st.integers(1, 30), elements=ANY_FLOAT), min_size=1, max_size=6
)
