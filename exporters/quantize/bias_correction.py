"""What quantized weights add to a layer's output on average, taken out of its bias."""

from __future__ import annotations

import numpy as np

from .grid import Doubles, Floats
from .layers import Layer


def corrected_bias(layer: Layer, dequantized: Floats, input_means: Doubles) -> Floats:
    """The bias with which the mean output stays that of the float weights.

    Takes E[Wq x] - E[W x] = (Wq - W) E[x] out of the bias (Nagel et al. 2019, arXiv:1906.04721,
    section 4.2), with means measured in calibration. Every pixel of a convolution counts with the
    mean of its channel: that zeros stand at the borders is ignored.

    Args:
        dequantized: what the quantized weights stand for, float32 of the weights' shape.
        input_means: mean of each channel of the layer's input, float64 [input channels].

    Returns:
        float32 [out]; also where the layer had no bias.
    """
    error = dequantized.astype(np.float64) - layer.weights
    error = error.reshape(*layer.weights.shape[:2], -1).sum(axis=2)
    groups = 1 if layer.convolution is None else layer.convolution.groups
    # Outputs of a group read the channels of that group only.
    by_group = error.reshape(groups, -1, error.shape[1])
    shift = np.einsum("goi,gi->go", by_group, input_means.reshape(groups, error.shape[1])).ravel()
    bias = np.zeros(len(shift)) if layer.bias is None else layer.bias.astype(np.float64)
    return np.asarray(bias - shift, dtype=np.float32)
