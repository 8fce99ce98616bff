"""What a runtime, delegate, execution provider or compiler can run, as data: `targets/support/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .profile import Format, Model, TargetRuntimeName

#: What the checks can ask on the host instead of reading a table.
Oracle = Literal["onnxruntime", "xnnpack", "tflite-micro", "vela", "qnn"]


class AttributeRule(Model):
    """Which values of an attribute are supported; what is not given is not judged."""

    one_of: tuple[str | int | float | bool, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None


class OperatorRule(Model):
    """One supported form of an operator. Several rules of one name are alternatives."""

    name: str = Field(description="as `OperatorFacts.name`: 'CONV_2D', 'Conv', 'com.microsoft::…'")
    since: str | None = Field(default=None, description="the first version that has it")
    versions: dict[str, int] = Field(
        default_factory=dict,
        description="version -> the newest version of the TFLite operator that it knows",
    )
    min_opset: int | None = Field(default=None, description="of the ONNX model, inclusive")
    max_opset: int | None = None
    types: tuple[str, ...] = Field(
        default=(),
        description="element type of the first input that is no constant, or 'type*type' with "
        "that of the weights; empty: those of the table",
    )
    min_rank: int | None = Field(default=None, description="of that input")
    max_rank: int | None = None
    constant_inputs: tuple[int, ...] = Field(
        default=(), description="positions of inputs that have to be constants"
    )
    per_channel: bool | None = Field(
        default=None, description="false: weights need one scale, true: more than one; None: either"
    )
    attributes: dict[str, AttributeRule] = Field(default_factory=dict)
    note: str | None = Field(default=None, description="a condition that nobody checks here")
    source: str | None = Field(default=None, description="where it differs from the table's")


class SupportTable(Model):
    """What one way to run a model supports. The file's name is its id.

    Versions are those of the runtime, delegate or compiler (`versioned_by` says which).
    """

    schema_version: Literal[1]
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    role: Literal["runtime", "accelerator"]
    format: Format
    runtimes: tuple[TargetRuntimeName, ...] = Field(
        default=(), description="runtimes that it is, or that load it; empty for compilers"
    )
    versioned_by: str = Field(description="whose version `since` and `versions` mean")
    tables_version: str = Field(description="the version that the table was read from")
    complete: bool = Field(
        description="whether an operator that is not listed is not supported; else it is unknown"
    )
    oracle: Oracle | None = Field(default=None, description="who can be asked on the host")
    types: tuple[str, ...] = Field(default=(), description="for operators that give none")
    max_rank: int | None = None
    dynamic_shapes: bool | None = Field(default=None, description="None: not published")
    control_flow: bool | None = None
    full_integer: bool = Field(
        default=False, description="whether every operator has to be quantized to integers"
    )
    per_channel: bool | None = Field(default=None, description="for operators that give none")
    notes: tuple[str, ...] = ()
    source: str = Field(min_length=1)
    operators: tuple[OperatorRule, ...] = ()
