"""What else the CPU is doing."""

from __future__ import annotations

import os
import time
from typing import Optional, Tuple

from . import common
from .common import read_text
from .processes import group_members, process_stat


class OtherLoad:
    """Cores that are busy with something else than this measurement, between two looks."""

    def __init__(self) -> None:
        self.last: Optional[Tuple[float, float, float]] = None

    def look(self) -> float:
        """Cores busy with other work since the last look; the first one waits a moment.

        Raises:
            OSError, ValueError: the kernel does not tell.
        """
        if self.last is None:
            self.last = _now()
            time.sleep(0.25)
        then, now = self.last, _now()
        self.last = now
        elapsed = now[0] - then[0]
        if elapsed <= 0:
            raise ValueError("the clock did not move")
        # Both are counted in ticks of 10 ms: a little less than nothing is nothing.
        return round(max(0.0, (now[1] - then[1]) - (now[2] - then[2])) / elapsed, 3)


def _now() -> Tuple[float, float, float]:
    """The time, and the seconds of all cores that went to anybody and to this process group."""
    line = read_text(common.PROC + "/stat").split("\n", 1)[0].split()
    if line[0] != "cpu" or len(line) < 5:
        raise ValueError("/proc/stat names no times")
    ticks = [int(field) for field in line[1:9]]
    # Idle and waiting for a disk (fields 4 and 5) is not busy; time that a hypervisor took is.
    busy = sum(ticks) - sum(ticks[3:5])
    own = 0
    for pid in group_members(os.getpgrp()):
        fields = process_stat(pid)
        if fields is not None:
            # utime, stime, and the same of children that were waited for: fields 14 to 17.
            own += sum(int(field) for field in fields[11:15])
    per_second = os.sysconf("SC_CLK_TCK")
    return time.monotonic(), busy / per_second, own / per_second
