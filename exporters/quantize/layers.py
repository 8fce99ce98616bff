"""Layers with weights, alike for both formats: what rounding, correction and search work on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Convolution:
    """Geometry of a 2-D convolution.

    Attributes:
        strides, dilations: (height, width).
        pads: (top, left, bottom, right), as computed for the shapes in the file.
    """

    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product whose weights are constant.

    Attributes:
        name, operator: as recipes see them.
        input, output: activation tensors as `tap` names them; the output is the one after a
            bias and an activation that runtimes compute together with it.
        weight: the constant's name in the file.
        weights: float32 [out, in / groups, height, width] for convolutions, [out, in] for matrix
            products.
        bias: float32 [out]; None where the layer has none.
        convolution: None for matrix products.
        channels_last: whether channels are the last axis of input and output (always so for
            matrix products); axis 1 otherwise.
        bounds: what the activation that belongs to it clips to; infinite where nothing does.
    """

    name: str
    operator: str
    input: str
    output: str
    weight: str
    weights: Floats
    bias: Floats | None
    convolution: Convolution | None
    channels_last: bool
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def is_depthwise(self) -> bool:
        return self.convolution is not None and self.convolution.groups > 1

    @property
    def multiplies_channels(self) -> bool:
        """Whether each output is a product with just the channels of one position."""
        if self.convolution is None:
            return True
        return self.convolution.groups == 1 and self.weights[0, 0].size == 1

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in input and output."""
        return -1 if self.channels_last else 1

    @property
    def input_channels(self) -> int:
        groups = 1 if self.convolution is None else self.convolution.groups
        return int(self.weights.shape[1]) * groups


@dataclass(frozen=True)
class LayerWeights:
    """New values for a layer, in the shapes of `Layer`."""

    weights: Floats
    bias: Floats | None


@dataclass(frozen=True)
class Operator:
    """One operator of a graph, with weights or without.

    Attributes:
        name, kind: as the scope and operator of rules see them.
        inputs, outputs: names of tensors; constants among the inputs, too.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def short_names(names: Sequence[str], longest: int = 60) -> dict[str, str]:
    """For people: the fewest last parts of each path-like name that still tell them apart.

    Converters name tensors after every module, with its Python path, that they came from.
    """
    parts = {
        name: [re.sub(r"^(?:[\w<>]+\.)+(?=[A-Z])", "", part) for part in name.split("/")]
        for name in names
    }
    for count in range(1, max((len(own) for own in parts.values()), default=0) + 1):
        found = {name: "/".join(own[-count:]) for name, own in parts.items()}
        if len(set(found.values())) == len(found):
            break
    else:
        found = {name: name for name in names}
    return {
        name: short if len(short) <= longest else f"...{short[3 - longest :]}"
        for name, short in found.items()
    }
