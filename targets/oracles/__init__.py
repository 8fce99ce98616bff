"""Runtimes and compilers that can be asked on this machine where a model's nodes would run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import EdgewrightError

if TYPE_CHECKING:
    from ..facts import ModelFacts
    from ..placement import Placement
    from ..profile import Accelerator

    Oracle = Callable[[Path, ModelFacts, Accelerator | None], Placement]


class CannotSay(EdgewrightError):
    """The runtime or compiler could not be asked, or gave no answer; the message says why."""


class Refused(CannotSay):
    """The runtime was asked, and does not load the model; the message is its own."""


def _later(module: str) -> Oracle:
    """The oracle of a module, which is imported when it is asked: `inside` starts without it."""

    def answer(path: Path, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
        oracle: Oracle = importlib.import_module(f".{module}", __package__).answer
        return oracle(path, facts, accelerator)

    return answer


#: By the name in `SupportTable.oracle`; one file for each.
ORACLES: dict[str, Oracle] = {
    "onnxruntime": _later("onnxruntime"),
    "xnnpack": _later("xnnpack"),
    "tflite-micro": _later("tflite_micro"),
    "vela": _later("vela"),
    "qnn": _later("qnn"),
}
