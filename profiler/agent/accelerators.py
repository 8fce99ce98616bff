"""Traces of processors beside the CPU; the host knows what they mean."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from typing import Callable, Dict, List

from . import common
from .common import Json, fill, read_text
from .device import property_of

#: Names of devices that drivers of accelerators make.
_NODES = (
    "apex_0", "edgetpu", "edgetpu-soc", "abrolhos", "janeiro", "rio",
    "mali0", "kgsl-3d0", "galcore", "rknpu", "nvidia0", "nvgpu", "nvhost-gpu",
    "adsprpc-smd", "fastrpc-cdsp", "apusys", "ethosu0", "hailo0",
)  # fmt: skip

#: What Android says of its chip and graphics.
_PROPERTIES = ("ro.soc.manufacturer", "ro.soc.model", "ro.hardware.egl")


def nodes() -> List[str]:
    # Android lets its shell list /dev, and not look at each device there.
    there = set(os.listdir(common.DEV))
    return [name for name in _NODES if name in there]


def _drivers(pattern: str) -> List[str]:
    """Kernel drivers of the devices of a class: DRIVER= of their uevent."""
    found = set()
    for path in glob.glob(common.SYS + pattern):
        with contextlib.suppress(OSError):
            found.update(re.findall(r"^DRIVER=(\S+)", read_text(path), re.MULTILINE))
    return sorted(found)


def drivers() -> List[str]:
    return sorted(
        set(_drivers("/class/drm/card*/device/uevent") + _drivers("/class/accel/*/device/uevent"))
    )


def _ids(pattern: str, vendor: str, product: str) -> List[str]:
    found = set()
    for folder in glob.glob(common.SYS + pattern):
        with contextlib.suppress(OSError):
            words = [read_text(folder + "/" + name) for name in (vendor, product)]
            found.add(":".join(word[2:] if word.startswith("0x") else word for word in words))
    return sorted(found)


def buses() -> List[str]:
    """'vendor:product' of everything on USB and PCI."""
    return sorted(
        set(
            _ids("/bus/usb/devices/*", "idVendor", "idProduct")
            + _ids("/bus/pci/devices/*", "vendor", "device")
        )
    )


def remote_processors() -> List[str]:
    paths = glob.glob(common.SYS + "/class/remoteproc/*/name")
    return sorted(read_text(path) for path in paths)


def _property(name: str) -> Callable[[], str]:
    return lambda: property_of(name)


def traces() -> Json:
    document: Json = {}
    readers: Dict[str, Callable[[], object]] = {
        "nodes": nodes,
        "drivers": drivers,
        "buses": buses,
        "remote_processors": remote_processors,
    }
    for name in _PROPERTIES:
        readers[name] = _property(name)
    return fill(document, readers)
