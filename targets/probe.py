"""The machine that Edgewright runs on, as a profile."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from .cpuinfo import clusters_from_cpuinfo
from .profile import (
    Architecture,
    CoreCluster,
    Cpu,
    Memory,
    OperatingSystem,
    Runtime,
    RuntimeName,
    TargetProfile,
)

_ARCHITECTURES: dict[str, Architecture] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
    "armv8l": "armv7l",
}

_SYSTEMS: dict[str, Literal["linux", "macos", "windows"]] = {
    "Linux": "linux",
    "Darwin": "macos",
    "Windows": "windows",
}

#: Which distribution brings which runtime; the first that is installed counts.
_DISTRIBUTIONS: dict[RuntimeName, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "ai_edge_litert": ("ai-edge-litert",),
    "tflite_runtime": ("tflite-runtime",),
}

#: macOS names of CPU features (sysctl hw.optional) and ours.
_SYSCTL_FEATURES = {
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}


def probe_host() -> TargetProfile:
    """Reads the CPU, memory, system and installed runtimes of this machine.

    Raises:
        UsageError: a processor that no runtime is known for, or no runtime is installed.
    """
    machine = platform.machine().lower()
    architecture = _ARCHITECTURES.get(machine)
    system = _SYSTEMS.get(platform.system())
    if architecture is None or system is None:
        raise UsageError(
            f"this machine ({platform.system()} on {machine or 'an unknown processor'}) can't be "
            "a target",
            hint="describe it in a .toml file, or choose another target",
        )
    cpu, notes = _cpu(system, architecture)
    return TargetProfile(
        schema_version=1,
        name="host",
        title="This machine",
        probed=True,
        cpu=cpu,
        memory=_memory(system),
        os=OperatingSystem(
            name=system,
            version=_system_version(),
            python=platform.python_version(),
            source="probed: Python's platform module",
        ),
        runtimes=_runtimes(),
        notes=notes,
    )


def _cpu(system: str, architecture: Architecture) -> tuple[Cpu, tuple[str, ...]]:
    if system == "linux":
        clusters = clusters_from_cpuinfo(
            _read("/proc/cpuinfo"), architecture, _frequencies(os.cpu_count() or 1)
        )
        if clusters:
            soc = _read("/proc/device-tree/model").strip("\0\n ") or clusters[0].core
            return Cpu(
                soc=soc,
                architecture=architecture,
                clusters=clusters,
                source="probed: /proc/cpuinfo",
            ), ()
    if system == "macos":
        core = _sysctl("machdep.cpu.brand_string") or platform.machine()
        basic = ["neon", "asimd"] if architecture == "aarch64" else ["sse4_1"]
        found = [ours for key, ours in _SYSCTL_FEATURES.items() if _sysctl(key) == "1"]
        cluster = CoreCluster.model_validate(
            {"core": core, "count": os.cpu_count() or 1, "features": (*basic, *found)}
        )
        return Cpu(
            soc=core, architecture=architecture, clusters=(cluster,), source="probed: sysctl"
        ), ()
    core = platform.processor() or platform.machine()
    cluster = CoreCluster(core=core, count=os.cpu_count() or 1)
    return (
        Cpu(
            soc=core,
            architecture=architecture,
            clusters=(cluster,),
            source="probed: Python's platform module",
        ),
        ("The CPU's instruction set features can't be read on this system: none is assumed",),
    )


def _frequencies(cores: int) -> dict[int, int]:
    """The highest frequency of each core in Hz, where the kernel tells."""
    found: dict[int, int] = {}
    for core in range(cores):
        text = _read(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq").strip()
        if text.isdigit() and int(text) > 0:
            found[core] = int(text) * 1000
    return found


def _memory(system: str) -> Memory:
    if system == "linux":
        for line in _read("/proc/meminfo").splitlines():
            if line.startswith("MemTotal:"):
                return Memory(ram_bytes=int(line.split()[1]) * 1024, source="probed: /proc/meminfo")
    if system == "macos" and (size := _sysctl("hw.memsize")):
        return Memory(ram_bytes=int(size), source="probed: sysctl hw.memsize")
    if sys.platform == "win32":
        return Memory(ram_bytes=_windows_ram(), source="probed: GlobalMemoryStatusEx")
    raise UsageError("this machine does not tell how much memory it has")


def _windows_ram() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = ctypes.CDLL("kernel32")
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise UsageError("this machine does not tell how much memory it has")
    return int(status.total)


def _system_version() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _runtimes() -> tuple[Runtime, ...]:
    runtimes = []
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                version = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            runtimes.append(
                Runtime(
                    name=name,
                    min_version=version,
                    source=f"probed: the installed distribution {distribution}",
                )
            )
            break
    if not runtimes:
        raise UsageError(
            "no inference runtime is installed here",
            hint="pip install onnxruntime ai-edge-litert",
        )
    return tuple(runtimes)


def _read(path: str) -> str:
    """A file's text; empty where it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(key: str) -> str:
    try:
        done = subprocess.run(
            ["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
