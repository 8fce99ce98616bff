"""Runtimes and compilers that can be asked on this machine where a model's nodes would run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import EdgewrightError
from ..facts import ModelFacts
from ..placement import Placement
from ..profile import Accelerator


class CannotSay(EdgewrightError):
    """The runtime or compiler could not be asked, or gave no answer; the message says why."""


Oracle = Callable[[Path, ModelFacts, Accelerator | None], Placement]

#: By the name in `SupportTable.oracle`; one file for each.
ORACLES: dict[str, Oracle] = {}
