"""One form of an operator that is supported, as data: the rules in the tables of `support/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .profile import Model
from .support_parts import (
    AxesRule,
    FactorRule,
    Operand,
    ReaderRule,
    SameShape,
    ShapeRule,
    ValueRule,
)
from .versions import at_least, version_parts


class OperatorRule(Model):
    """One supported form of an operator. Several rules of one name are alternatives."""

    name: str = Field(description="as `OperatorFacts.name`: 'CONV_2D', 'Conv', 'com.microsoft::…'")
    since: str | None = Field(default=None, description="the first version that has it")
    until: str | None = Field(default=None, description="the first version that no longer has it")
    versions: dict[str, int] = Field(
        default_factory=dict,
        description="version -> the newest version of the TFLite operator that it knows",
    )
    min_opset: int | None = Field(default=None, description="of the ONNX model, inclusive")
    max_opset: int | None = None
    types: tuple[str, ...] = Field(
        default=(),
        description="element type of the first input that is no constant (of a Gather or an "
        "embedding: of the table, of a selection: of the first choice), or 'type*type' with that "
        "of the weights; empty: those of the table. Of products and recurrent layers, a type alone "
        "means that the weights have it too. ONNX accelerators: the type between QDQ pairs",
    )
    inputs: dict[int, tuple[str, ...]] = Field(
        default_factory=dict,
        description="position of an input -> its element types; what is left out is not judged. "
        "Of a runtime that tells types apart by operand, as ONNX does, in place of `types`",
    )
    outputs: dict[int, tuple[str, ...]] = Field(default_factory=dict, description="likewise")
    min_rank: int | None = Field(default=None, description="of that input")
    max_rank: int | None = None
    max_non_singleton: int | None = Field(
        default=None, description="how many dimensions of that input may be larger than 1"
    )
    max_batch: int | None = Field(default=None, description="of that input's first dimension")
    input_shapes: dict[int, ShapeRule] = Field(
        default_factory=dict, description="position of an input -> its shape"
    )
    output_shapes: dict[int, ShapeRule] = Field(default_factory=dict, description="likewise")
    same_shapes: tuple[SameShape, ...] = Field(
        default=(), description="inputs and outputs whose shapes are equal"
    )
    same_rank: tuple[Operand, ...] = Field(
        default=(), description="inputs and outputs with as many dimensions"
    )
    factors: FactorRule | None = Field(
        default=None, description="by what a resizing enlarges its input"
    )
    depthwise: bool | None = Field(
        default=None, description="of a convolution: whether it has a group for each channel"
    )
    padding_within_width: bool = Field(
        default=False, description="whether a convolution pads by at most the width of its input"
    )
    no_padding: bool = Field(
        default=False,
        description="whether a convolution or window may pad nothing: VALID, or SAME where that "
        "adds nothing",
    )
    constant_inputs: tuple[int, ...] = Field(
        default=(), description="positions of inputs that have to be constants"
    )
    computed_inputs: tuple[int, ...] | Literal["all"] = Field(
        default=(), description="positions of inputs that may not be constants"
    )
    distinct_inputs: bool = Field(
        default=False, description="whether no tensor may be there twice among the inputs"
    )
    min_inputs: int | None = Field(default=None, description="how many inputs have to be given")
    max_inputs: int | None = None
    max_outputs: int | None = None
    values: dict[int, ValueRule] = Field(
        default_factory=dict,
        description="position of a small constant input -> what each of its values may be",
    )
    axes: AxesRule | None = Field(
        default=None,
        description="the dimensions that it works along: reduces, joins, pads, resizes, …",
    )
    per_channel: bool | None = Field(
        default=None, description="false: weights need one scale, true: more than one; None: either"
    )
    most_scales: dict[Operand, int] = Field(
        default_factory=dict,
        description="position of an input, or 'output' -> how many scales it may have; "
        "0: not quantized",
    )
    no_zero_points: bool = Field(
        default=False, description="whether zero points of its integers have to be 0"
    )
    shared_scales: bool = Field(
        default=False, description="whether inputs and outputs have one scale and zero point"
    )
    attributes: dict[str, ValueRule] = Field(default_factory=dict)
    absent_attributes: tuple[str, ...] = Field(
        default=(), description="attributes that may not be given"
    )
    same_attributes: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description="attributes that have one value together: ['stride_w', 'stride_h'], "
        "or one list whose values are equal: ['strides']",
    )
    made_by: dict[int, tuple[str, ...]] = Field(
        default_factory=dict, description="position of an input -> the operators that may make it"
    )
    read_by: ReaderRule | None = Field(default=None, description="who may read its first output")
    note: str | None = Field(
        default=None, description="a condition that nobody checks here; told with the placement"
    )
    source: str | None = Field(default=None, description="where it differs from the table's")

    def newest_version(self, version: str) -> int | None:
        """The newest version of the operator known by a version; None: none known yet."""
        known = [newest for since, newest in self.versions.items() if at_least(version, since)]
        return max(known, default=None)

    def first_with_version(self, wanted: int) -> str | None:
        """The oldest version that knows a version of the operator."""
        able = [since for since, newest in self.versions.items() if newest >= wanted]
        return min(able, key=version_parts, default=None)
