"""What a runtime, delegate, execution provider or compiler can run, as data: `targets/support/`."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from .profile import Format, Model, TargetRuntimeName
from .support_rule import OperatorRule

#: What the checks can ask on the host instead of reading a table.
Oracle = Literal["onnxruntime", "xnnpack", "tflite-micro", "vela", "qnn"]


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
    non_singleton: tuple[int, ...] | None = Field(
        default=None, description="the dimensions of the data that may be larger than 1"
    )
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
    quantizes_itself: str | None = Field(
        default=None,
        min_length=1,
        description="who says that the compiler takes models in floating point and quantizes them "
        "itself; None: it does not, or nobody says",
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
