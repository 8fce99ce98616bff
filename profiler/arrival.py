"""Ready to measure: the agent on the device, in its own Python or in a runtime of ours.

A device's own Python with a runtime that reads the models comes first: what is measured there is
what an application there has. Where there is none, the runtime that this host has built for the
device's architecture (`device_runtime/`) is brought there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from ..errors import DeviceError, RuntimeMissing, UsageError
from ..targets.profile import READERS, Architecture, Format, RuntimeName
from .deploy import Agent, device_directory, install_agent
from .device_runtime.bundle import Bundle
from .device_runtime.cache import find_kept
from .device_runtime.install import install_runtime
from .device_runtime.recipe import WHEELS
from .garbage import MARK, lines_after_mark
from .job import MeasureSettings
from .result import DeviceFacts
from .runners import Installed, Runner, choose_runner
from .transports.base import Transport

T = TypeVar("T")

_PLATFORM = f'echo {MARK}; uname -m; printf "%s\\n" "$HOME"'

#: What `uname -m` says -> what we call it. A kernel of 64 bits runs our 64-bit programs under any
#: system, and armv8l is a 64-bit core whose kernel runs 32-bit programs alone.
_MACHINES: dict[str, Architecture] = {
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
    "armv8l": "armv7l",
    "x86_64": "x86_64",
    "amd64": "x86_64",
}


@dataclass(frozen=True)
class Arrival:
    """What a measurement needs of a device before it begins.

    Attributes:
        runners: for each model, in order.
        ours: the runtime of ours that is used; None where the device's own Python is.
    """

    agent: Agent
    facts: DeviceFacts
    installed: Installed
    runners: tuple[Runner, ...]
    ours: Bundle | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a result ought to say of this."""
        if self.ours is None:
            return ()
        return (f"measured in a runtime that Edgewright brought: {self.ours.title}",)


class Patiently(Protocol):
    """Does something that can be done again, again while the connection is lost."""

    def __call__(self, action: Callable[[], T]) -> T: ...


def arrive(
    transport: Transport,
    formats: Sequence[Format],
    settings: MeasureSettings,
    patiently: Patiently,
    on_bytes: Callable[[int, int], None] | None = None,
    journal: list[str] | None = None,
) -> Arrival:
    """Brings the agent, and where need be a runtime, to a device.

    Args:
        formats: of the models.
        patiently: how to wait for a connection that is lost; a device that does not answer at all
            is not waited for.
        on_bytes: called with (bytes there, bytes in all) while a runtime is sent.
        journal: takes what is sent, as for `deploy`.

    Raises:
        RuntimeMissing: the device has no Python or no runtime that reads the models, and no runtime
            for it is built; the hint has the command that builds one.
        UsageError: the runtime asked for can't read a format.
        DeviceError, IntegrityError: as `deploy` and `install_runtime` do.
    """

    def in_ours(missing: RuntimeMissing | None) -> Arrival:
        return _in_ours(transport, formats, settings, missing, patiently, on_bytes, journal)

    if settings.bundled:
        return in_ours(None)
    try:
        agent = install_agent(
            transport, base=settings.base, python=settings.python, journal=journal
        )
        facts, installed = patiently(agent.read_facts)
        return Arrival(agent, facts, installed, _choose(installed, formats, settings))
    except RuntimeMissing as missing:
        if settings.bundled is False or settings.python is not None:
            raise
        return in_ours(missing)


def machine_of(transport: Transport) -> tuple[Architecture, str]:
    """The architecture whose programs a device runs, and its user's home.

    Raises:
        RuntimeMissing: there is nothing for it.
    """
    done = transport.run(["sh", "-c", _PLATFORM])
    lines = lines_after_mark(transport.address, "its machine", done.stdout)
    if done.code != 0 or len(lines) != 2:
        raise DeviceError(f"{transport.address} does not say what machine it is: {done.stderr}")
    if lines[0] not in _MACHINES:
        raise RuntimeMissing(
            f"{transport.address} is a {lines[0]}: there are no runtimes for that",
            hint=f"Edgewright knows {', '.join(sorted(set(_MACHINES.values())))}",
        )
    return _MACHINES[lines[0]], lines[1]


def _in_ours(
    transport: Transport,
    formats: Sequence[Format],
    settings: MeasureSettings,
    missing: RuntimeMissing | None,
    patiently: Patiently,
    on_bytes: Callable[[int, int], None] | None,
    journal: list[str] | None,
) -> Arrival:
    architecture, home = machine_of(transport)
    names = _readers(formats, settings.runtime)
    kept = find_kept(architecture, names)
    if kept is None:
        raise _not_built(transport.address, architecture, names, formats, missing)
    base = device_directory(transport, settings.base) or f"{home}/.cache/edgewright"
    ours = patiently(lambda: install_runtime(transport, base, kept, on_bytes, journal))
    agent = patiently(
        lambda: install_agent(transport, base=base, python=ours.python, journal=journal)
    )
    facts, installed = patiently(agent.read_facts)
    installed = replace(installed, python_version=f"{installed.python_version} (Edgewright's)")
    runners = _choose(installed, formats, settings)
    return Arrival(agent, facts, installed, runners, kept.bundle)


def _choose(
    installed: Installed, formats: Sequence[Format], settings: MeasureSettings
) -> tuple[Runner, ...]:
    return tuple(choose_runner(installed, each, settings.runtime) for each in formats)


def _readers(formats: Sequence[Format], requested: RuntimeName | None) -> list[RuntimeName]:
    """The runtimes that read all the formats."""
    for each in formats:
        if requested is not None and requested not in READERS[each]:
            raise UsageError(
                f"{requested} can't run {each} models", hint=f"use {' or '.join(READERS[each])}"
            )
    return [
        name
        for name in WHEELS
        if all(name in READERS[each] for each in formats) and requested in (None, name)
    ]


def _not_built(
    address: str,
    architecture: Architecture,
    names: Sequence[RuntimeName],
    formats: Sequence[Format],
    missing: RuntimeMissing | None,
) -> RuntimeMissing:
    """The error where no runtime of ours is there either."""
    fitting = [name for name in names if architecture in WHEELS[name][1]]
    what = missing.message if missing else f"no runtime for {address} is built on this host"
    own = [missing.hint] if missing and missing.hint else []
    if not fitting:
        why = "one runtime reads one format" if len(set(formats)) > 1 else "no wheel exists"
        none = f"Edgewright has no runtime for {' and '.join(formats)} on {architecture}: {why}"
        return RuntimeMissing(what, hint="; ".join([*own, none]))
    command = f"edgewright runtime build --device {address} --runtime {fitting[0]}"
    build = f"bring one along, which leaves the device's system alone: {command}"
    return RuntimeMissing(what, hint="; or ".join([*own, build]))
