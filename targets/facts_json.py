"""Facts as JSON and back: how they leave the process that reads a model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .facts import ModelFacts

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def facts_to_json(facts: ModelFacts) -> str:
    """Facts as one JSON document; numbers that are not finite are written as Python's json does.

    Raises:
        PydanticSerializationError: a name is no Unicode text.
    """
    from pydantic_core import to_json

    return to_json(facts, inf_nan_mode="constants").decode()


def facts_from_json(text: str) -> ModelFacts:
    """The facts that `facts_to_json` wrote, equal to those, types included."""
    return _adapter().validate_json(text)


@functools.cache
def _adapter() -> TypeAdapter[ModelFacts]:
    from pydantic import TypeAdapter

    return TypeAdapter(ModelFacts)
