"""What to quantize, and how, as data: the same language for ONNX and TFLite."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ...targets.profile import Format, Model

WeightType = Literal["int8", "uint8", "int4", "float16"]
ActivationType = Literal["float32", "float16", "dynamic", "int8", "uint8"]
Granularity = Literal["per-tensor", "per-channel", "blockwise"]


class Scheme(Model):
    """How one operator's weights and activations are stored and computed.

    `reduce_range` keeps INT8 weights within 7 bits, so that x86 CPUs without VNNI, whose
    `vpmaddubsw` adds two products into 16 bits, do not saturate (ONNX Runtime documentation,
    "Quantize ONNX models: reduce_range").
    """

    weights: WeightType
    activations: ActivationType = "float32"
    granularity: Granularity = "per-channel"
    block_size: Literal[32, 64, 128] | None = None
    symmetric_activations: bool = False
    reduce_range: bool = False

    @model_validator(mode="after")
    def _is_coherent(self) -> Scheme:
        if (self.granularity == "blockwise") != (self.block_size is not None):
            raise ValueError("block_size goes with granularity 'blockwise', and only with it")
        if (self.weights == "float16") != (self.activations == "float16"):
            raise ValueError("float16 is for weights and activations together")
        if self.reduce_range and self.weights != "int8":
            raise ValueError("reduce_range is for int8 weights")
        return self

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations have to be known before."""
        return self.activations in ("int8", "uint8")


class Rule(Model):
    """Which operators a scheme is for; a scheme of None keeps them float.

    Attributes:
        scope: regular expression searched in the operator's name (ONNX: the node's; TFLite: that
            of its first output tensor).
        operator: the operator as the format names it ('Conv', 'FULLY_CONNECTED'), or '*'.
    """

    scope: str = ".*"
    operator: str = "*"
    scheme: Scheme | None

    @field_validator("scope")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    def matches(self, name: str, operator: str) -> bool:
        return self.operator in ("*", operator) and re.search(self.scope, name) is not None


class Calibration(Model):
    """How ranges of activations are found.

    'percentile' cuts the tails of each tensor's histogram so that `percentile` per cent of the
    values are inside (Wu et al. 2020, "Integer Quantization for Deep Learning Inference",
    arXiv:2004.09602, section 4).
    """

    method: Literal["min-max", "percentile"] = "percentile"
    percentile: float | None = Field(default=99.99, gt=50, le=100, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _min_max_has_none(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "min-max":
            return {"percentile": None, **values}
        return values

    @field_validator("percentile")
    @classmethod
    def _goes_with_method(cls, value: float | None, info: ValidationInfo) -> float | None:
        if (info.data.get("method") == "percentile") != (value is not None):
            raise ValueError("percentile goes with method 'percentile', and only with it")
        return value


class Recipe(Model):
    """Ordered rules; the last that matches an operator decides, and what none names stays float."""

    schema_version: Literal[1] = 1
    name: str
    format: Format
    precision: Literal["float16", "int8", "int8-dynamic", "int8-weights", "int4"]
    rules: tuple[Rule, ...] = Field(min_length=1)
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _calibration_is_stated(self) -> Recipe:
        needed = any(rule.scheme and rule.scheme.needs_calibration for rule in self.rules)
        if needed != (self.calibration is not None):
            raise ValueError(
                "calibration goes with rules whose activations are static, and only so"
            )
        return self

    @property
    def needs_calibration(self) -> bool:
        return self.calibration is not None

    def scheme_for(self, name: str, operator: str) -> Scheme | None:
        """The scheme of one operator; None keeps it float."""
        scheme = None
        for rule in self.rules:
            if rule.matches(name, operator):
                scheme = rule.scheme
        return scheme
