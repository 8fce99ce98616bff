"""Time and life of the device, whatever its wall clock does."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Optional

from . import common
from .common import Json, read_text


def boot_id() -> str:
    """The kernel's random name for the time since the last start; empty where it is kept secret."""
    with contextlib.suppress(OSError):
        return read_text(common.PROC + "/sys/kernel/random/boot_id")
    return ""


def now_s() -> float:
    """Seconds since the last start, sleep included; no clock that anybody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def oom_kills() -> Optional[int]:
    """How many processes the kernel's out-of-memory killer has ended since boot, if it says."""
    try:
        found = re.search(r"^oom_kill (\d+)", read_text(common.PROC + "/vmstat"), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None


def moment() -> Json:
    """Now, to be written down and compared with later."""
    return {"boot_id": boot_id(), "boot_s": now_s(), "oom_kills": oom_kills()}


def was_before_restart(then: Json) -> bool:
    """Whether the device was started again since a moment."""
    return bool(then["boot_id"] != boot_id() or then["boot_s"] > now_s())


def passed_s(then: Json) -> Optional[float]:
    """Seconds since a moment; None where the device was started again, and nobody counted."""
    return None if was_before_restart(then) else now_s() - float(then["boot_s"])
