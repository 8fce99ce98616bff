"""What the host knows of a device's runtime; `agent/engines.py` is the part that runs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...targets.profile import Format, RuntimeName

if TYPE_CHECKING:
    from ..job import MeasuredModel


@dataclass(frozen=True)
class Installed:
    """The software of a device that decides what can run there.

    Attributes:
        address: the device, for messages.
        python: the command that starts its Python.
        numpy: version; None where there is none.
        runtimes: name -> version ('unknown' where it does not say).
    """

    address: str
    python: str
    python_version: str
    architecture: str | None
    numpy: str | None
    runtimes: Mapping[str, str]


def _nothing_known(installed: Installed) -> str | None:
    return None


def _no_notes(installed: Installed, model: MeasuredModel) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Runner:
    """One runtime.

    Attributes:
        name: as profiles, results and the agent call it; also the Python module.
        distribution: what pip installs.
        architectures: those with ready-made wheels on PyPI.
        refusal: why an installed runtime can't be used as it is; None where it can.
        notes: known defects that may touch a model's results.
    """

    name: RuntimeName
    distribution: str
    formats: tuple[Format, ...]
    architectures: tuple[str, ...]
    refusal: Callable[[Installed], str | None] = _nothing_known
    notes: Callable[[Installed, MeasuredModel], tuple[str, ...]] = _no_notes


def major(version: str | None) -> int | None:
    """The first number of a version; None where there is none."""
    head = (version or "").partition(".")[0]
    return int(head) if head.isdigit() else None
