"""A live device: what it is, what state it is in, and what Edgewright has there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ..targets.cpuinfo import clusters_from_cpuinfo
from ..targets.hwcap import features_from_hwcap
from ..targets.profile import Accelerator, CoreCluster, Model, known_architecture
from .arrival import Arrival, arrive
from .garbage import understood
from .job import MeasureSettings
from .owner import Holder
from .result import Conditions, DeviceFacts
from .seen_accelerators import chip, seen
from .transports.base import Transport

T = TypeVar("T")


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
    soc: str | None = Field(default=None, description="the chip, where the system names it")
    accelerators: tuple[Accelerator, ...] = Field(
        default=(), description="what its drivers and buses show; there may be more"
    )
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
    traces = agent.ask("accelerators")
    conditions = agent.ask("conditions")
    stored = agent.ask("stored", agent.base)
    with understood(transport.address, "what it is"):
        return LiveDevice(
            facts=arrival.facts,
            clusters=_clusters(arrival, facts, conditions),
            soc=chip(traces),
            accelerators=seen(traces),
            python=arrival.installed.python,
            python_version=arrival.installed.python_version,
            numpy=arrival.installed.numpy,
            runtimes=dict(arrival.installed.runtimes),
            conditions=Conditions.model_validate(conditions),
            stored=Stored.model_validate({"directory": agent.base, **stored}),
            notes=arrival.notes,
        )


def _clusters(
    arrival: Arrival, facts: dict[str, Any], conditions: dict[str, Any]
) -> tuple[CoreCluster, ...]:
    known = known_architecture(arrival.facts.architecture)
    if known is None:
        return ()
    frequencies = {
        cpu: cluster["max_frequency_hz"]
        for cluster in conditions["clusters"]
        for cpu in cluster["cpus"]
        if cluster["max_frequency_hz"]
    }
    clusters = clusters_from_cpuinfo(facts["cpuinfo"] or "", known, frequencies)
    promised = features_from_hwcap(known, *facts["hwcap"]) if facts["hwcap"] else None
    if promised is None:
        return clusters
    # What the kernel promises to programs holds on every core, and also where an emulator shows
    # the /proc/cpuinfo of another machine.
    return tuple(cluster.model_copy(update={"features": promised}) for cluster in clusters)


def _once(action: Callable[[], T]) -> T:
    return action()
