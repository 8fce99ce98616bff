"""What a model needs of a device, beside what there is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .placement import Answer
from .profile import Model


class Need(Model):
    """One thing that a model takes: room for its file, memory, or a microcontroller's arena."""

    what: Literal["file", "memory", "arena"]
    needed_bytes: int
    allowed_bytes: int | None = Field(description="the smaller of the device's limits, if any")
    limit: str | None = Field(description="whose limit that is, in words")
    told: str = Field(description="what it needs, in words; of estimates what they consist of")
    answer: Answer
