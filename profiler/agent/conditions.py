"""The state that the device is in."""

from __future__ import annotations

import contextlib
import glob
import re
import shutil
import subprocess
import time
from typing import List, Optional, Tuple

from . import common
from .common import Json, fill, read_text, why
from .device import memory_bytes


def temperature_c() -> float:
    """The hottest zone that names the CPU or the chip; of all zones where none does."""
    cpu: List[float] = []
    others: List[float] = []
    for zone in glob.glob(common.SYS + "/class/thermal/thermal_zone*"):
        try:
            kind, millidegrees = read_text(zone + "/type").lower(), int(read_text(zone + "/temp"))
        except (OSError, ValueError):
            continue
        is_cpu = any(word in kind for word in ("cpu", "soc", "pkg", "core", "bcm2835"))
        (cpu if is_cpu else others).append(millidegrees / 1000)
    if not cpu and not others:
        raise ValueError("no readable thermal zone in /sys/class/thermal")
    return max(cpu or others)


def read_cores(name: str) -> List[str]:
    found = []
    for path in glob.glob(common.SYS + "/devices/system/cpu/cpu[0-9]*/cpufreq/" + name):
        with contextlib.suppress(OSError):
            found.append(read_text(path))
    if not found:
        raise ValueError("no readable %s in /sys/devices/system/cpu/cpu*/cpufreq" % name)
    return found


def vcgencmd(*arguments: str) -> str:
    """Asks the Raspberry Pi's firmware."""
    program = shutil.which("vcgencmd")
    if program is None:
        raise LookupError("no vcgencmd (Raspberry Pi only)")
    done = subprocess.run(
        [program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=5,
    )
    if done.returncode != 0:
        raise LookupError("vcgencmd: " + done.stdout.strip())
    return done.stdout.strip().partition("=")[2]


def throttling() -> Tuple[bool, str]:
    """Whether the CPU is held back now, and the flags that say so.

    Raspberry Pi firmware, `get_throttled`: bits 0-3 are now (under-voltage, frequency capped,
    throttled, soft temperature limit), bits 16-19 the same since boot. Elsewhere: the state of the
    kernel's CPU cooling devices, which is 0 while they do nothing.
    """
    try:
        flags = int(vcgencmd("get_throttled"), 16)
        return bool(flags & 0xF), hex(flags)
    except (LookupError, ValueError, OSError, subprocess.SubprocessError) as error:
        reason = why(error)
    states = []
    for device in sorted(glob.glob(common.SYS + "/class/thermal/cooling_device*")):
        with contextlib.suppress(OSError, ValueError):
            kind = read_text(device + "/type")
            if "cpu" in kind.lower() or "processor" in kind.lower():
                states.append((kind, int(read_text(device + "/cur_state"))))
    if not states:
        raise LookupError(reason + ", and no CPU cooling device in /sys/class/thermal")
    active = ["%s=%d" % pair for pair in states if pair[1] > 0]
    return bool(active), " ".join(active)


def conditions(taken: str, began: float) -> Json:
    """The device's state now; the frequency first, since the other readings would disturb it."""
    document: Json = {"taken": taken, "at_s": round(time.monotonic() - began, 3)}
    fill(
        document,
        {
            "frequency_hz": lambda: 1000 * max(map(int, read_cores("scaling_cur_freq"))),
            "governor": lambda: ",".join(sorted(set(read_cores("scaling_governor")))),
            "temperature_c": temperature_c,
            "throttled_flags": throttling,
            "free_memory_bytes": lambda: memory_bytes("MemAvailable"),
            "load_1min": lambda: float(read_text(common.PROC + "/loadavg").split()[0]),
        },
    )
    flags = document["throttled_flags"]
    document["throttled"], document["throttled_flags"] = flags or (None, None)
    if flags is None:
        document["missing"]["throttled"] = document["missing"].pop("throttled_flags")
    return document


def oom_kills() -> Optional[int]:
    """How many processes the kernel's out-of-memory killer has ended since boot, if it says."""
    try:
        found = re.search(r"^oom_kill (\d+)", read_text(common.PROC + "/vmstat"), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None
