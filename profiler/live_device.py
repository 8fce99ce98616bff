"""A live device: what it is, what state it is in, and what Edgewright has there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from ..targets.cpuinfo import clusters_from_cpuinfo
from ..targets.profile import Architecture, CoreCluster, Model, TargetProfile
from .arrival import Arrival, arrive
from .garbage import understood
from .job import MeasureSettings
from .owner import Holder
from .result import Conditions, DeviceFacts
from .transports.base import Transport

T = TypeVar("T")

#: The kernel and the firmware keep some of the RAM that a data sheet promises.
_LEAST_RAM, _MOST_RAM = 0.75, 1.05


class Kept(BaseModel):
    """Files of one kind."""

    model_config = ConfigDict(frozen=True)

    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0, description="of the device's disk")


class KeptRun(BaseModel):
    """One measurement that lies on the device.

    A running or finished one can be resumed by whoever started it, with the same command.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    state: Literal["running", "finished", "stale", "queued", "absent"]
    models: tuple[str, ...]
    changed_s_ago: float


class Stored(BaseModel):
    """What Edgewright has on a device."""

    model_config = ConfigDict(frozen=True)

    directory: str
    free_bytes: int
    total_bytes: int
    kept: dict[str, Kept]
    runs: tuple[KeptRun, ...]
    holder: Holder | None = Field(description="whose measurement runs now")


class LiveDevice(Model):
    """What a device says of itself now."""

    schema_version: Literal[1] = 1
    facts: DeviceFacts
    clusters: tuple[CoreCluster, ...] = Field(description="from the fastest to the slowest kind")
    python: str = Field(description="the command that starts it")
    python_version: str
    numpy: str | None
    runtimes: dict[str, str] = Field(description="name -> version")
    conditions: Conditions
    stored: Stored
    notes: tuple[str, ...] = ()


def look_at(transport: Transport, settings: MeasureSettings | None = None) -> LiveDevice:
    """Asks a device for all that it tells; the agent, and where need be a runtime, is sent there.

    Raises:
        RuntimeMissing: it has no Python, and no runtime for it is built.
        DeviceError: anything else about the device.
    """
    arrival = arrive(transport, (), settings or MeasureSettings(), _once)
    agent = arrival.agent
    facts = agent.ask("facts")
    conditions = agent.ask("conditions")
    stored = agent.ask("stored", agent.base)
    with understood(transport.address, "what it is"):
        return LiveDevice(
            facts=arrival.facts,
            clusters=_clusters(arrival, facts, conditions),
            python=arrival.installed.python,
            python_version=arrival.installed.python_version,
            numpy=arrival.installed.numpy,
            runtimes=dict(arrival.installed.runtimes),
            conditions=Conditions.model_validate(conditions),
            stored=Stored.model_validate({"directory": agent.base, **stored}),
            notes=arrival.notes,
        )


def differences(device: LiveDevice, profile: TargetProfile) -> list[str]:
    """Where a device is not what its profile says: what checks and plans would get wrong."""
    facts, cpu = device.facts, profile.cpu
    found = []
    if facts.architecture != cpu.architecture:
        found.append(f"it is {facts.architecture}, the profile says {cpu.architecture}")
    elif facts.features:
        own = set(facts.features)
        if lacking := sorted(cpu.features - own):
            found.append(f"its CPU lacks {', '.join(lacking)}, which the profile has")
        if more := sorted(own - cpu.features):
            found.append(f"its CPU has {', '.join(more)}, which the profile lacks")
    if facts.cores is not None and facts.cores != cpu.core_count:
        found.append(f"it has {facts.cores} cores, the profile says {cpu.core_count}")
    promised = profile.memory.ram_bytes
    if facts.ram_bytes and not _LEAST_RAM <= facts.ram_bytes / promised <= _MOST_RAM:
        found.append(
            f"it has {facts.ram_bytes / 2**30:.1f} GiB of RAM, the profile says "
            f"{promised / 2**30:.1f} GiB"
        )
    return found


def _clusters(
    arrival: Arrival, facts: dict[str, Any], conditions: dict[str, Any]
) -> tuple[CoreCluster, ...]:
    known = next((a for a in get_args(Architecture) if a == arrival.facts.architecture), None)
    if known is None:
        return ()
    frequencies = {
        cpu: cluster["max_frequency_hz"]
        for cluster in conditions["clusters"]
        for cpu in cluster["cpus"]
        if cluster["max_frequency_hz"]
    }
    return clusters_from_cpuinfo(facts["cpuinfo"] or "", known, frequencies)


def _once(action: Callable[[], T]) -> T:
    return action()
