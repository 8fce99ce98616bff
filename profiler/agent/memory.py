"""Memory of the worker's process, and what the model added to it."""

from __future__ import annotations

import re
import resource
from typing import Dict, Optional

from . import common
from .common import Json, read_text, why


def status_bytes(key: str) -> int:
    """A figure of /proc/self/status.

    Raises:
        OSError, ValueError: it is not there.
    """
    text = read_text(common.PROC + "/self/status")
    found = re.search(r"^%s:\s+(\d+) kB" % key, text, re.MULTILINE)
    if found is None:
        raise ValueError("/proc/self/status has no " + key)
    return int(found.group(1)) * 1024


class Memory:
    """Looks at this process's memory at moments with names; its peak is taken from the last look
    named 'baseline' on.

    The kernel's own peak (VmHWM) is set back at the baseline; what it was before is kept for the
    peak of the whole process.
    """

    def __init__(self) -> None:
        self.seen: Dict[str, int] = {}
        self.problem: Optional[str] = None
        self.before = 0
        self.reset = False

    def look(self, moment: str) -> None:
        try:
            self.seen[moment + "_rss_bytes"] = status_bytes("VmRSS")
        except (OSError, ValueError) as error:
            self.problem = why(error)

    def baseline(self) -> None:
        """The model's memory begins here."""
        self.look("baseline")
        try:
            self.before = status_bytes("VmHWM")
            with open(common.PROC + "/self/clear_refs", "w") as handle:
                handle.write("5")
            self.reset = True
        except (OSError, ValueError) as error:
            self.problem = why(error)

    def report(self) -> Json:
        """`peak_rss_bytes` of the process, `memory`, and under `missing` why one is not there."""
        try:
            peak = status_bytes("VmHWM")
        except (OSError, ValueError) as error:
            kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            reason = why(error)
            if kilobytes > 0:
                return {
                    "peak_rss_bytes": kilobytes * 1024,
                    "memory": None,
                    "missing": {"memory": reason},
                }
            missing = {"peak_rss_bytes": reason + ", and no getrusage", "memory": reason}
            return {"peak_rss_bytes": None, "memory": None, "missing": missing}
        memory: Json = dict(self.seen)
        missing = {}
        baseline = self.seen.get("baseline_rss_bytes")
        # A peak that was not set back is the model's only if it grew.
        if baseline is not None and (self.reset or peak > self.before):
            memory["peak_rss_bytes"] = peak
            memory["model_added_bytes"] = max(0, peak - baseline)
        else:
            missing["model_added_bytes"] = self.problem or "the process was larger before"
        return {
            "peak_rss_bytes": max(peak, self.before),
            "memory": memory,
            "missing": missing,
        }
