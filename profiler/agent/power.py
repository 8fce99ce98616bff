"""Batteries, and what the device draws where it can tell."""

from __future__ import annotations

import contextlib
import glob
import re
import shutil
from typing import Dict, List, Optional, Tuple

from . import common
from .common import Json, ask_program, read_text, why
from .thermal import vcgencmd

#: android.os.BatteryManager, BATTERY_STATUS_*.
_ANDROID_STATUS = {2: "Charging", 3: "Discharging", 4: "Not charging", 5: "Full"}
_RAIL = re.compile(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]")


def battery() -> Json:
    """Charge and state of the battery.

    Raises:
        LookupError: there is none that can be read.
    """
    path = _battery_path()
    if path is not None:
        with contextlib.suppress(OSError, ValueError):
            status = read_text(path + "/status")
            return {
                "level_percent": float(read_text(path + "/capacity")),
                "status": status,
                "charging": status == "Charging",
                "temperature_c": _number(path + "/temp", 10),
            }
    if shutil.which("dumpsys"):
        return _from_service(ask_program(["dumpsys", "battery"]))
    if path is not None:
        raise LookupError("%s can't be read" % path)
    raise LookupError("no battery in /sys/class/power_supply")


def power_w() -> Tuple[float, str]:
    """What the device draws now in watts, and how that is known.

    Raises:
        LookupError: it can't tell; every way that was tried says why.
    """
    reasons = []
    for way in (_from_pmic, _from_battery, _from_ina):
        try:
            return way()
        except (LookupError, OSError, ValueError) as error:
            reasons.append(why(error))
    raise LookupError("; ".join(reasons))


def _from_pmic() -> Tuple[float, str]:
    """Raspberry Pi 5: the sum of the rails that its power chip measures."""
    rails: Dict[str, Dict[str, float]] = {}
    for name, unit, value in _RAIL.findall(vcgencmd("pmic_read_adc")):
        rails.setdefault(name, {})[unit] = float(value)
    watts = [rail["A"] * rail["V"] for rail in rails.values() if set(rail) == {"A", "V"}]
    if not watts:
        raise LookupError("vcgencmd pmic_read_adc names no rail with current and voltage")
    return sum(watts), (
        "vcgencmd pmic_read_adc: the rails of the board's power chip, without USB devices, fan and "
        "the chip's own losses"
    )


def _from_battery() -> Tuple[float, str]:
    path = _battery_path()
    if path is None:
        raise LookupError("no battery in /sys/class/power_supply")
    status = read_text(path + "/status")
    if status != "Discharging":
        raise LookupError(
            "the battery is %s: its current is not what the device draws (unplug it, and use "
            "wireless debugging)" % status.lower()
        )
    amperes = abs(int(read_text(path + "/current_now"))) / 1e6
    volts = int(read_text(path + "/voltage_now")) / 1e6
    return amperes * volts, (
        "the battery's current and voltage: the whole device with its screen and radios; fuel "
        "gauges answer with an average of up to seconds"
    )


def _from_ina() -> Tuple[float, str]:
    """Boards with an INA3221 sensor at their input, like NVIDIA's Jetson."""
    for label in glob.glob(common.SYS + "/class/hwmon/hwmon*/in*_label"):
        with contextlib.suppress(OSError, ValueError):
            if read_text(label) == "VDD_IN":
                number = re.findall(r"in(\d+)_label$", label)[0]
                folder = label.rpartition("/")[0]
                millivolts = int(read_text("%s/in%s_input" % (folder, number)))
                milliamperes = int(read_text("%s/curr%s_input" % (folder, number)))
                return millivolts * milliamperes / 1e6, "the board's INA3221 sensor at its input"
    raise LookupError("no VDD_IN sensor in /sys/class/hwmon")


def _battery_path() -> Optional[str]:
    found: List[str] = []
    for path in sorted(glob.glob(common.SYS + "/class/power_supply/*")):
        with contextlib.suppress(OSError):
            # Mice and pens have batteries, too; theirs have the scope "Device".
            if read_text(path + "/type") == "Battery" and not _is_of_a_peripheral(path):
                found.append(path)
    return found[0] if found else None


def _is_of_a_peripheral(path: str) -> bool:
    try:
        return read_text(path + "/scope") == "Device"
    except OSError:
        return False


def _from_service(text: str) -> Json:
    # The first word counts: some phones add a log in which older values stand.
    fields = dict(reversed(re.findall(r"^\s*([\w ]+): (\S+)$", text, re.MULTILINE)))
    if "level" not in fields or "status" not in fields:
        raise LookupError("dumpsys battery names neither level nor status")
    status = _ANDROID_STATUS.get(int(fields["status"]), "Unknown")
    temperature = fields.get("temperature")
    return {
        "level_percent": 100.0 * float(fields["level"]) / float(fields.get("scale", 100)),
        "status": status,
        "charging": status == "Charging",
        "temperature_c": int(temperature) / 10 if temperature else None,
    }


def _number(path: str, divisor: int) -> Optional[float]:
    try:
        return int(read_text(path)) / divisor
    except (OSError, ValueError):
        return None
