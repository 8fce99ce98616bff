"""What to quantize, and how, as data: the same language for ONNX and TFLite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ...errors import UsageError
from ...files import read_json
from ...targets.facts import CONVOLUTIONS, MATRIX_PRODUCTS
from ...targets.profile import Format, Model

WeightType = Literal["int8", "uint8", "int4", "float16"]
ActivationType = Literal["float32", "float16", "dynamic", "int8", "uint8", "int16"]
Granularity = Literal["per-tensor", "per-channel", "blockwise"]
RangeName = Literal["min-max", "moving-average", "percentile", "mse", "entropy"]
Rounding = Literal["nearest", "stochastic", "gptq"]
Precision = Literal[
    "float32", "float16", "int8", "int16", "int8-dynamic", "int8-weights", "int4", "mixed"
]

#: Words for operators that both formats have under names of their own.
OPERATOR_CLASSES: dict[str, frozenset[str]] = {
    "convolution": CONVOLUTIONS,
    "matrix-product": MATRIX_PRODUCTS,
    "embedding": frozenset({"Gather", "EMBEDDING_LOOKUP", "GATHER"}),
}


class RangeMethod(Model):
    """How the range of a static activation is found (`methods/`).

    `percentile` is the share of values, in per cent, that the method 'percentile' keeps inside.
    """

    method: RangeName = "percentile"
    percentile: float | None = Field(default=None, gt=50, le=100)

    @model_validator(mode="before")
    @classmethod
    def _percentile_has_a_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method", "percentile") == "percentile":
            return {"percentile": 99.999, **values}
        return values

    @model_validator(mode="after")
    def _goes_with_method(self) -> RangeMethod:
        if (self.method == "percentile") != (self.percentile is not None):
            raise ValueError("percentile goes with method 'percentile', and only with it")
        return self

    @property
    def name(self) -> str:
        if self.percentile is None:
            return self.method
        # repr() keeps what :g would round: 99.99999 is not 100.
        return f"p{self.percentile!r}".removesuffix(".0")


class Scheme(Model):
    """How one operator's weights and activations are stored and computed.

    Attributes:
        activations: 'float32' quantizes the weights only; 'dynamic' finds ranges at run time.
        block_size: how many weights along the inputs share a scale, for granularity 'blockwise'.
        reduce_range: keeps INT8 weights within 7 bits, so that x86 CPUs without VNNI, whose
            `vpmaddubsw` adds two products into 16 bits, do not saturate (ONNX Runtime
            documentation, "Quantize ONNX models: reduce_range").
        ranges: how ranges of static activations are found; None where there are none.
        weight_ranges: 'min-max', or 'mse' (clips weights where that lowers their squared error).
        rounding: 'nearest'; 'stochastic' with `seed` (Gupta et al. 2015, arXiv:1502.02551);
            'gptq' (Frantar et al. 2022, arXiv:2210.17323).
    """

    weights: WeightType
    activations: ActivationType = "float32"
    granularity: Granularity = "per-channel"
    block_size: Literal[32, 64, 128] | None = None
    symmetric_weights: bool = True
    symmetric_activations: bool = False
    reduce_range: bool = False
    ranges: RangeMethod | None = None
    weight_ranges: Literal["min-max", "mse"] = "min-max"
    rounding: Rounding = "nearest"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _static_has_ranges(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("activations") in _STATIC:
            return {"ranges": RangeMethod(), **values}
        return values

    @model_validator(mode="after")
    def _is_coherent(self) -> Scheme:
        if (self.granularity == "blockwise") != (self.block_size is not None):
            raise ValueError("block_size goes with granularity 'blockwise', and only with it")
        if (self.weights == "float16") != (self.activations == "float16"):
            raise ValueError("float16 is for weights and activations together")
        if self.reduce_range and self.weights != "int8":
            raise ValueError("reduce_range is for int8 weights")
        if self.is_static != (self.ranges is not None):
            raise ValueError("ranges go with static activations (int8, uint8, int16), only so")
        if self.weights == "float16":
            for what, is_so in (
                ("granularity 'blockwise'", self.granularity == "blockwise"),
                ("weight_ranges 'mse'", self.weight_ranges == "mse"),
                (f"rounding {self.rounding!r}", self.rounding != "nearest"),
            ):
                if is_so:
                    raise ValueError(f"{what} is for integer weights")
        if self.seed and self.rounding != "stochastic":
            raise ValueError("seed goes with rounding 'stochastic', and only with it")
        return self

    @property
    def is_static(self) -> bool:
        """Whether ranges of activations have to be known before."""
        return self.activations in _STATIC

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes statistics of activations to apply."""
        return self.is_static or self.rounding == "gptq"

    @property
    def precision(self) -> Precision:
        """The field's word for it."""
        if self.weights == "float16":
            return "float16"
        if self.weights == "int4":
            return "int4"
        if self.activations == "int16":
            return "int16"
        if self.activations == "dynamic":
            return "int8-dynamic"
        return "int8" if self.is_static else "int8-weights"


_STATIC = ("int8", "uint8", "int16")


class Rule(Model):
    """Which operators a scheme is for; a scheme of None keeps them float.

    Attributes:
        scope: regular expression searched in the operator's name (ONNX: the node's; TFLite: that
            of its first output tensor).
        operator: the operator as the format names it ('Conv', 'FULLY_CONNECTED'); a class that both
            formats have ('convolution', 'matrix-product', 'embedding'); or '*'.
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

    def names_operator(self, operator: str) -> bool:
        """Whether the rule's operator is this one, or a class that it belongs to."""
        return self.operator in ("*", operator) or operator in OPERATOR_CLASSES.get(
            self.operator, frozenset()
        )

    def matches(self, name: str, operator: str) -> bool:
        return self.names_operator(operator) and re.search(self.scope, name) is not None


class Recipe(Model):
    """Ordered rules; the last that matches an operator decides, and what none names stays float.

    Attributes:
        format: None where it is for either.
        equalization: cross-layer equalization of weights first (Nagel et al. 2019,
            arXiv:1906.04721, section 4.1).
        bias_correction: takes the mean error that quantized weights cause out of the biases (the
            same, section 4.2, with means measured in calibration).
    """

    schema_version: Literal[2] = 2
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    format: Format | None = None
    rules: tuple[Rule, ...] = Field(min_length=1)
    equalization: bool = False
    bias_correction: bool = False

    @model_validator(mode="after")
    def _quantizes(self) -> Recipe:
        if not self.schemes:
            raise ValueError("every rule keeps its operators float; one has to have a scheme")
        return self

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The distinct schemes of the rules, in their order."""
        return tuple(dict.fromkeys(rule.scheme for rule in self.rules if rule.scheme is not None))

    @property
    def precision(self) -> Precision:
        """That of its schemes; 'mixed' where they differ in it."""
        kinds = {scheme.precision for scheme in self.schemes}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes statistics of activations to apply."""
        return (
            any(scheme.needs_calibration for scheme in self.schemes)
            or self.bias_correction
            or self.equalization
        )

    @property
    def needs_covariances(self) -> bool:
        """Whether the statistics have to hold second moments across channels."""
        return any(scheme.rounding == "gptq" for scheme in self.schemes)

    def scheme_for(self, name: str, operator: str) -> Scheme | None:
        """The scheme of one operator; None keeps it float."""
        scheme = None
        for rule in self.rules:
            if rule.matches(name, operator):
                scheme = rule.scheme
        return scheme


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe from a JSON file.

    Raises:
        UsageError: it is missing, is no JSON or no recipe; the message names the key.
    """
    document = read_json(path, "recipe")
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        # A mistyped key is also a missing one: the key that is there tells more.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"recipe {path}{f', {where}' if where else ''}: {message}",
            hint="`edgewright recipes schema` prints what a recipe is",
        ) from error
