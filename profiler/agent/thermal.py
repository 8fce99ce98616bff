"""How hot it is, and whether that slows the device down."""

from __future__ import annotations

import contextlib
import glob
import re
import shutil
from typing import List, Tuple

from . import common
from .common import Json, ask_program, read_text, why

#: What the zones of CPUs and chips are called: these decide, and are read while measuring.
_CHIP = ("cpu", "soc-", "soc_", "pkg", "core", "bcm2835", "cluster", "little", "big", "mid")
#: What a phone says of a sensor that it has not (-99.9, for one) lies below this.
_NO_SENSOR_C = -50.0
#: android.os.PowerManager, THERMAL_STATUS_*.
_ANDROID = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


def zones(chip_only: bool, with_services: bool) -> List[Json]:
    """The thermal zones that can be read: their names and degrees Celsius.

    Phones that keep /sys from us tell their temperatures in `dumpsys thermalservice`.

    Args:
        chip_only: those of CPUs and chips alone.
        with_services: ask Android's services where nothing can be read, which takes a while.

    Raises:
        ValueError: there is none.
    """
    found = []
    for path in sorted(glob.glob(common.SYS + "/class/thermal/thermal_zone*")):
        with contextlib.suppress(OSError, ValueError):
            name = read_text(path + "/type")
            if chip_only and not is_chip(name):
                continue
            found.append({"name": name, "temperature_c": int(read_text(path + "/temp")) / 1000})
    if not found and with_services and shutil.which("dumpsys"):
        with contextlib.suppress(LookupError, OSError):
            found = _from_service(ask_program(["dumpsys", "thermalservice"]), chip_only)
    if not found:
        raise ValueError("no readable thermal zone in /sys/class/thermal")
    return found


def _from_service(text: str, chip_only: bool) -> List[Json]:
    """The current temperatures; those that were cached earlier come before them."""
    current = text.partition("Current temperatures from HAL:")[2].partition("cooling devices")[0]
    pairs = re.findall(r"mValue=([-\d.]+), mType=\d+, mName=([^,}]+)", current)
    return [
        {"name": name, "temperature_c": float(value)}
        for value, name in pairs
        if float(value) > _NO_SENSOR_C and (is_chip(name) or not chip_only)
    ]


def is_chip(name: str) -> bool:
    return any(word in name.lower() for word in _CHIP)


def hottest_c(found: List[Json]) -> float:
    """Of the zones that name the CPU or the chip; of all where none does."""
    chip = [zone["temperature_c"] for zone in found if is_chip(zone["name"])]
    return float(max(chip or [zone["temperature_c"] for zone in found]))


def vcgencmd(*arguments: str) -> str:
    """Asks the Raspberry Pi's firmware."""
    program = shutil.which("vcgencmd")
    if program is None:
        raise LookupError("no vcgencmd (Raspberry Pi only)")
    return ask_program([program, *arguments])


def throttling(with_services: bool) -> Tuple[bool, str]:
    """Whether the CPU is held back now, and the flags that say so.

    Raspberry Pi firmware, `get_throttled`: bits 0-3 are now (under-voltage, frequency capped,
    throttled, soft temperature limit), bits 16-19 the same since boot. Android: the thermal status
    of `dumpsys thermalservice`. Elsewhere: the state of the kernel's CPU cooling devices, which is
    0 while they do nothing.

    Args:
        with_services: ask Android's services, too, which takes the CPU a while.
    """
    reasons = []
    try:
        flags = int(vcgencmd("get_throttled").partition("=")[2], 16)
        return bool(flags & 0xF), hex(flags)
    except (LookupError, ValueError, OSError) as error:
        reasons.append(why(error))
    if with_services and shutil.which("dumpsys"):
        try:
            status = _thermal_status(ask_program(["dumpsys", "thermalservice"]))
            return status != "none", "thermal status " + status
        except (LookupError, OSError) as error:
            reasons.append(why(error))
    states = []
    for device in sorted(glob.glob(common.SYS + "/class/thermal/cooling_device*")):
        with contextlib.suppress(OSError, ValueError):
            kind = read_text(device + "/type")
            if "cpu" in kind.lower() or "processor" in kind.lower():
                states.append((kind, int(read_text(device + "/cur_state"))))
    if not states:
        reasons.append("no CPU cooling device in /sys/class/thermal")
        raise LookupError(", and ".join(reasons))
    active = ["%s=%d" % pair for pair in states if pair[1] > 0]
    return bool(active), " ".join(active)


def _thermal_status(text: str) -> str:
    """Android 10 and later print `Thermal Status: 0`."""
    found = re.search(r"Thermal Status:\s*(\d+)", text)
    if found is None:
        raise LookupError("dumpsys thermalservice names no thermal status")
    return _ANDROID[min(int(found.group(1)), len(_ANDROID) - 1)]
