"""Integer matrix products as x86 without VNNI computes them.

`vpmaddubsw` multiplies unsigned with signed bytes and adds each two neighbouring products in 16
bits, saturating (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
PMADDUBSW). ONNX Runtime's AVX2 kernels for uint8 times int8 use it on neighbours along the inner
dimension (mlas/lib/x86_64/QgemmU8X8KernelAvx2.S, ConvSymKernelAvx2.S); those for other types,
depthwise convolutions and ConvInteger do not. Compared with onnxruntime 1.32 on an AVX2 machine,
bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Sums = npt.NDArray[np.int64]

_LEAST, _MOST = -(2**15), 2**15 - 1
_MAX_ACTIVATION = 255


def product(a: Integers, b: Integers) -> Sums:
    """The exact product of two integer matrices.

    Args:
        a: of shape [rows, inner]; 8 bits.
        b: of shape [inner, columns]; 8 bits.

    Returns:
        Sums of shape [rows, columns].
    """
    # Below 2**53 sums of integers are exact in float64, and BLAS is much faster than integers are.
    exact: Sums = np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return exact


def lost(a: npt.NDArray[np.uint8], b: npt.NDArray[np.int8]) -> Sums:
    """What saturation takes from `product(a, b)`; to be subtracted from it.

    Args:
        a: activations as they are stored, zero point not subtracted, of shape [rows, inner].
        b: weights as they are stored, of shape [inner, columns].
    """
    total = np.zeros((len(a), b.shape[1]), dtype=np.int64)
    wide = b.astype(np.int32)
    if len(wide) % 2:
        wide = np.vstack([wide, np.zeros((1, b.shape[1]), dtype=np.int32)])
    first, second = wide[0::2], wide[1::2]
    highest = _MAX_ACTIVATION * (np.maximum(first, 0) + np.maximum(second, 0))
    lowest = _MAX_ACTIVATION * (np.minimum(first, 0) + np.minimum(second, 0))
    # Most pairs of weights are too small to saturate with any activations.
    able = (highest > _MOST) | (lowest < _LEAST)
    for pair in np.flatnonzero(able.any(axis=1)):
        columns = np.flatnonzero(able[pair])
        left = a[:, 2 * pair].astype(np.int32)
        sums = left[:, None] * first[pair, columns]
        if 2 * pair + 1 < a.shape[1]:
            right = a[:, 2 * pair + 1].astype(np.int32)
            sums += right[:, None] * second[pair, columns]
        total[:, columns] += sums - np.clip(sums, _LEAST, _MOST)
    return total


def columns_of(
    x: Integers,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
    fill: int,
) -> Integers:
    """The patches that a convolution multiplies, channels innermost, as ONNX Runtime lays them out.

    Args:
        x: of shape [channels, *spatial]; one sample, one group.
        pads: before each spatial dimension, then after each, as ONNX has them.
        fill: the value of padding: the zero point.

    Returns:
        Of shape [positions, prod(kernel) * channels].
    """
    rank = len(kernel)
    widths = [(0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(x, widths, constant_values=fill)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, reach, axis=tuple(range(1, rank + 1))
    )
    positions = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilations)
    picked = windows[(slice(None), *positions, *taps)]
    # [channels, *positions, *kernel] -> [*positions, *kernel, channels]
    moved = np.moveaxis(picked, 0, -1)
    return moved.reshape(int(np.prod(moved.shape[:rank])), -1)
