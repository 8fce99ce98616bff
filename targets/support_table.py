"""What a runtime, delegate, execution provider or compiler can run, as data: `targets/support/`."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from .profile import Format, Model, TargetRuntimeName
from .versions import at_least, version_parts

#: What the checks can ask on the host instead of reading a table.
Oracle = Literal["onnxruntime", "xnnpack", "tflite-micro", "vela", "qnn"]


class AttributeRule(Model):
    """Which values of an attribute are supported; what is not given is not judged."""

    one_of: tuple[str | int | float | bool, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    def allows(self, value: str | int | float | bool) -> bool:
        """Whether a value is supported; text is compared without regard to case."""
        if self.one_of is not None and _plain(value) not in [_plain(v) for v in self.one_of]:
            return False
        if self.minimum is None and self.maximum is None:
            return True
        if isinstance(value, str):
            return False
        low = -math.inf if self.minimum is None else self.minimum
        return low <= value <= (math.inf if self.maximum is None else self.maximum)

    @property
    def told(self) -> str:
        """The condition in words."""
        parts = [] if self.one_of is None else [" or ".join(str(v) for v in self.one_of)]
        parts += [] if self.minimum is None else [f"at least {self.minimum:g}"]
        parts += [] if self.maximum is None else [f"at most {self.maximum:g}"]
        return " and ".join(parts) or "any"


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
    constant_inputs: tuple[int, ...] = Field(
        default=(), description="positions of inputs that have to be constants"
    )
    min_inputs: int | None = Field(default=None, description="how many inputs have to be given")
    max_inputs: int | None = None
    per_channel: bool | None = Field(
        default=None, description="false: weights need one scale, true: more than one; None: either"
    )
    attributes: dict[str, AttributeRule] = Field(default_factory=dict)
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
    oldest_version: str | None = Field(
        default=None, description="of older versions the table knows nothing; None: of none"
    )
    complete: bool = Field(
        description="whether an operator that is not listed is not supported; else it is unknown"
    )
    oracle: Oracle | None = Field(default=None, description="who can be asked on the host")
    decided_by: str | None = Field(
        default=None,
        description="who has the last word on the device: the table says what is offered to it. "
        "None: the table is the whole rule",
    )
    types: tuple[str, ...] = Field(default=(), description="for operators that give none")
    type_sets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="lists of types that operators share: '@NAME' stands for those of NAME",
    )
    max_rank: int | None = None
    max_non_singleton: int | None = None
    min_opset: int | None = Field(default=None, description="for operators that give none")
    max_opset: int | None = None
    fuses_qdq: bool = Field(
        default=True,
        description="ONNX accelerators: whether `types` are those between QDQ pairs; false: "
        "DequantizeLinear, the operator in floating point and QuantizeLinear count one by one",
    )
    dynamic_shapes: bool | None = Field(default=None, description="None: not published")
    control_flow: bool | None = None
    full_integer: bool = Field(
        default=False, description="whether every operator has to be quantized to integers"
    )
    per_channel: bool | None = Field(default=None, description="for operators that give none")
    max_partitions: int | None = Field(
        default=None, ge=1, description="more pieces than these stay on the CPU; None: no limit"
    )
    keeps: Literal["largest", "first"] = Field(
        default="largest", description="which pieces run on it, where there is a limit"
    )
    compiled_operator: str | None = Field(
        default=None, description="the custom operator that models compiled for it consist of"
    )
    compiler: str | None = Field(
        default=None, description="the program that compiles a model, which it is given first"
    )
    notes: tuple[str, ...] = ()
    source: str = Field(min_length=1)
    operators: tuple[OperatorRule, ...] = ()
    unsupported: tuple[str, ...] = Field(
        default=(),
        description="operators that the source rules out, where the list of the others is not "
        "complete",
    )

    @model_validator(mode="after")
    def _type_sets_are_known(self) -> SupportTable:
        for rule in self.operators:
            for types in (rule.types, *rule.inputs.values(), *rule.outputs.values()):
                for each in types:
                    if each.startswith("@") and each[1:] not in self.type_sets:
                        known = ", ".join(self.type_sets) or "there is none"
                        raise ValueError(f"{rule.name}: '{each}' names no type set ({known})")
        return self

    def spelled_out(self, types: tuple[str, ...]) -> tuple[str, ...]:
        """The types with those of a set in place of its name."""
        if not any(each.startswith("@") for each in types):
            return types
        return tuple(
            one
            for each in types
            for one in (self.type_sets[each[1:]] if each.startswith("@") else (each,))
        )

    @cached_property
    def by_operator(self) -> dict[str, tuple[OperatorRule, ...]]:
        """The alternatives of each operator."""
        found: dict[str, tuple[OperatorRule, ...]] = {}
        for rule in self.operators:
            found[rule.name] = (*found.get(rule.name, ()), rule)
        return found


def _plain(value: str | int | float | bool) -> str | float:
    return value.lower() if isinstance(value, str) else float(value)
