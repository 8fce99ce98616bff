"""From a live device to the profile of it, and where the two differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from ..errors import UsageError
from ..targets.profile import (
    Architecture,
    CoreCluster,
    Cpu,
    Memory,
    OperatingSystem,
    Runtime,
    Sensors,
    TargetProfile,
    known_architecture,
)
from ..targets.versions import at_least
from .device_runtime.recipe import WHEELS
from .live_device import LiveDevice
from .units import size_text

#: The kernel and the firmware keep some of the RAM that a data sheet promises.
_LEAST_RAM, _MOST_RAM = 0.75, 1.05

#: A clock this much off the profile's is another clock, and no rounding.
_CLOCK_TOLERANCE = 0.03


def probed_profile(live: LiveDevice, name: str, day: date) -> TargetProfile:
    """The profile of a device as it is; what it did not tell is left out.

    Args:
        live: what it told.
        name: what the profile is called.
        day: when; told in the sources.

    Raises:
        UsageError: it does not tell enough to be a target: its cores, its memory.
    """
    facts = live.facts
    architecture = known_architecture(facts.architecture)
    lacking = [
        words
        for words, there in (
            ("a processor that Edgewright knows", architecture),
            ("its cores", live.clusters),
            ("its memory", facts.ram_bytes),
        )
        if not there
    ]
    if lacking or architecture is None or facts.ram_bytes is None:
        raise UsageError(
            f"{facts.address} does not show {', '.join(lacking)}: that makes no profile",
            hint="write the profile by hand from one that is like it (`edgewright targets new`)",
        )
    zones = tuple(dict.fromkeys(zone.name for zone in live.conditions.zones))
    return TargetProfile(
        schema_version=1,
        name=name,
        title=facts.model or facts.hostname or name,
        cpu=Cpu(
            soc=live.soc or facts.cpu or facts.model or "unknown",
            architecture=architecture,
            clusters=live.clusters,
            source=_source(day, "/proc/cpuinfo, the auxiliary vector's AT_HWCAP, cpufreq"),
        ),
        memory=Memory(
            ram_bytes=facts.ram_bytes,
            source=_source(day, "/proc/meminfo (what the kernel has, less than is built in)"),
        ),
        os=OperatingSystem(
            name="android" if _is_android(live) else "linux",
            version=facts.os or f"Linux {facts.kernel}",
            python=re.split(r"\s", live.python_version)[0],
            libc=facts.libc,
            source=_source(day, "the system's own files and properties, and its Python"),
        ),
        runtimes=_runtimes(live, architecture, day),
        accelerators=live.accelerators,
        sensors=Sensors(thermal_zones=zones, source=_source(day, "the kernel's thermal zones"))
        if zones
        else None,
        notes=("Emulated: its clocks and latencies say nothing of a device",)
        if facts.emulated
        else (),
    )


def _runtimes(live: LiveDevice, architecture: Architecture, day: date) -> tuple[Runtime, ...]:
    """What is installed; where nothing is, what Edgewright can bring."""
    where = _source(day, f"the package in its Python ({live.python})")
    installed = [
        Runtime(name=name, min_version=live.runtimes[name], source=where)
        for name in WHEELS
        if name in live.runtimes
    ]
    return tuple(installed) or tuple(
        Runtime(
            name=name,
            min_version=wheel.partition("==")[2],
            source=_source(day, "none is installed; `edgewright runtime build` brings this one"),
        )
        for name, (wheel, architectures) in WHEELS.items()
        if architecture in architectures
    )


def differences(live: LiveDevice, profile: TargetProfile) -> list[str]:
    """Where a device is not what its profile says: what checks and plans would get wrong."""
    return [
        *_cpu_differences(live, profile.cpu),
        *_system_differences(live, profile),
        *_runtime_differences(live, profile),
        *_accelerator_differences(live, profile),
    ]


def _cpu_differences(live: LiveDevice, cpu: Cpu) -> Iterator[str]:
    facts = live.facts
    if facts.architecture != cpu.architecture:
        yield f"it is {facts.architecture}, the profile says {cpu.architecture}"
    elif facts.features:
        own = set(facts.features)
        if lacking := sorted(cpu.features - own):
            yield f"its CPU lacks {', '.join(lacking)}, which the profile has"
        if more := sorted(own - cpu.features):
            yield f"its CPU has {', '.join(more)}, which the profile lacks"
    if facts.cores is not None and facts.cores != cpu.core_count:
        yield f"it has {facts.cores} cores, the profile says {cpu.core_count}"
    elif live.clusters and _kinds(live.clusters) != _kinds(cpu.clusters):
        yield f"its cores are {_words(live.clusters)}, the profile says {_words(cpu.clusters)}"
    else:
        yield from _clock_differences(live.clusters, cpu.clusters)


def _kinds(clusters: tuple[CoreCluster, ...]) -> list[tuple[str, int]]:
    return sorted((cluster.core, cluster.count) for cluster in clusters)


def _words(clusters: tuple[CoreCluster, ...]) -> str:
    return ", ".join(f"{cluster.count}x {cluster.core}" for cluster in clusters)


def _clock_differences(
    live: tuple[CoreCluster, ...], claimed: tuple[CoreCluster, ...]
) -> Iterator[str]:
    promised = {(c.core, c.count): c.max_frequency_hz for c in claimed}
    for cluster in live:
        here = cluster.max_frequency_hz
        there = promised.get((cluster.core, cluster.count))
        if here and there and abs(here - there) > _CLOCK_TOLERANCE * there:
            yield (
                f"its {cluster.core} run at up to {here / 1e6:.0f} MHz, the profile says "
                f"{there / 1e6:.0f} MHz"
            )


def _system_differences(live: LiveDevice, profile: TargetProfile) -> Iterator[str]:
    promised, there = profile.memory.ram_bytes, live.facts.ram_bytes
    if there and not _LEAST_RAM <= there / promised <= _MOST_RAM:
        yield f"it has {size_text(there)} of RAM, the profile says {size_text(promised)}"
    if _is_android(live) != (profile.os.name == "android"):
        yield f"it runs {live.facts.os or 'Linux'}, the profile says {profile.os.version}"
    claimed = profile.sensors.thermal_zones if profile.sensors else ()
    shown = {zone.name for zone in live.conditions.zones}
    if missing := [zone for zone in claimed if zone not in shown]:
        yield f"it has no thermal zone {', '.join(missing)}, which the profile has"


def _runtime_differences(live: LiveDevice, profile: TargetProfile) -> Iterator[str]:
    for runtime in profile.runtimes:
        here = live.runtimes.get(runtime.name)
        if here is None:
            if runtime.name in WHEELS:
                yield f"{runtime.name} is not installed, the profile assumes {runtime.min_version}"
        elif not at_least(here, runtime.min_version):
            yield (
                f"its {runtime.name} is {here}, older than the {runtime.min_version} that the "
                "profile assumes"
            )


def _accelerator_differences(live: LiveDevice, profile: TargetProfile) -> Iterator[str]:
    kinds = {accelerator.kind for accelerator in live.accelerators}
    for accelerator in profile.accelerators:
        if accelerator.kind not in kinds:
            yield f"it does not show the {accelerator.name} of the profile (no driver in sight)"


def _is_android(live: LiveDevice) -> bool:
    return (live.facts.os or "").startswith("Android")


def _source(day: date, of: str) -> str:
    return f"probed on {day.isoformat()}: {of}"
