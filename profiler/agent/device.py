"""What the device is."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import re
import shutil
import struct
from typing import List, Optional, Sequence

from . import common
from .common import Json, ask_program, fill, read_text

#: Runtime -> (module that is imported, distributions that may carry it).
RUNTIMES = {
    "onnxruntime": ("onnxruntime", ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")),
    "ai_edge_litert": ("ai_edge_litert", ("ai-edge-litert",)),
    "tflite_runtime": ("tflite_runtime", ("tflite-runtime",)),
}

#: Keys of the auxiliary vector (include/uapi/linux/auxvec.h).
_AT_HWCAP, _AT_HWCAP2 = 16, 26
#: Bytes of one entry of the auxiliary vector: a key and a value, as wide as pointers are.
_PAIR = 2 * struct.calcsize("N")


def device_model() -> str:
    with contextlib.suppress(LookupError):
        return property_of("ro.product.manufacturer") + " " + property_of("ro.product.model")
    for path in (
        common.PROC + "/device-tree/model",
        common.SYS + "/firmware/devicetree/base/model",
    ):
        with contextlib.suppress(OSError):
            return read_text(path)
    vendor = read_text(common.SYS + "/class/dmi/id/sys_vendor")
    return (vendor + " " + read_text(common.SYS + "/class/dmi/id/product_name")).strip()


def architecture() -> str:
    """That of this Python: a 64-bit kernel may carry a 32-bit system."""
    machine = platform.machine()
    if struct.calcsize("P") == 4 and machine in ("aarch64", "armv8l"):
        return "armv7l"
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def property_of(name: str) -> str:
    """One of Android's system properties.

    Raises:
        LookupError: this is no Android, or it has no such property.
    """
    program = shutil.which("getprop")
    if program is None:
        raise LookupError("no getprop (Android only)")
    value = ask_program([program, name])
    if not value:
        raise LookupError("getprop has no " + name)
    return value


def os_name() -> str:
    with contextlib.suppress(LookupError):
        return "Android " + property_of("ro.build.version.release")
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text("/etc/os-release"), re.MULTILINE)
    if found is None:
        raise ValueError("/etc/os-release has no PRETTY_NAME")
    return found.group(1)


def libc() -> str:
    """The C library of this Python, with its version."""
    name, version = platform.libc_ver()
    if not name:
        raise LookupError("this Python does not tell its C library")
    return (name + " " + version).strip()


def memory_bytes(key: str) -> int:
    found = re.search(r"^%s:\s+(\d+) kB" % key, read_text(common.PROC + "/meminfo"), re.MULTILINE)
    if found is None:
        raise ValueError("/proc/meminfo has no " + key)
    return int(found.group(1)) * 1024


def is_emulated() -> bool:
    """Whether another kind of CPU plays this one. A hypervisor alone is not emulation.

    qemu-user hides itself from a process that looks at itself, but not from its child; older ones
    also show the /proc/cpuinfo of the machine underneath.
    """
    cpuinfo = read_text(common.PROC + "/cpuinfo")
    if architecture() in ("aarch64", "armv7l") and re.search("^vendor_id", cpuinfo, re.MULTILINE):
        return True
    if re.search(r"^model name\s*: QEMU TCG", cpuinfo, re.MULTILINE):
        return True
    with contextlib.suppress(OSError):
        # qemu's board that exists nowhere else. That a CPU of its own kind may play it, too, can't
        # be told from inside; a device to release on it is in neither case.
        if device_model() == "linux,dummy-virt":
            return True
    receiver, sender = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.write(sender, os.readlink("/proc/%d/exe" % parent).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        name = os.path.basename(pipe.read())
    os.waitpid(child, 0)
    return name.startswith("qemu")


def distribution_version(module: str, distributions: Sequence[str]) -> Optional[str]:
    """The version of an installed module, which is not imported; None where there is none."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:
        return "unknown"
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return str(metadata.version(name))
    return "unknown"


def hardware_capabilities() -> List[int]:
    """AT_HWCAP and AT_HWCAP2 of this process (getauxval(3)); 0 where the kernel gives none."""
    with open("/proc/self/auxv", "rb") as handle:
        content = handle.read()
    pairs = dict(struct.iter_unpack("NN", content[: len(content) // _PAIR * _PAIR]))
    if _AT_HWCAP not in pairs:
        raise LookupError("/proc/self/auxv has no AT_HWCAP")
    return [pairs[_AT_HWCAP], pairs.get(_AT_HWCAP2, 0)]


def facts() -> Json:
    """What the device is; the host reads `cpuinfo` itself."""
    runtimes = {}
    for name, (module, distributions) in RUNTIMES.items():
        version = distribution_version(module, distributions)
        if version is not None:
            runtimes[name] = version
    document: Json = {
        "hostname": platform.node(),
        "architecture": architecture(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": distribution_version("numpy", ("numpy",)),
        "runtimes": runtimes,
    }
    return fill(
        document,
        {
            "model": device_model,
            "os": os_name,
            "cpuinfo": lambda: read_text(common.PROC + "/cpuinfo"),
            "cores": os.cpu_count,
            "libc": libc,
            "hwcap": hardware_capabilities,
            "ram_bytes": lambda: memory_bytes("MemTotal"),
            "emulated": is_emulated,
        },
    )
