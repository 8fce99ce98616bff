"""The state that the device is in, at one moment."""

from __future__ import annotations

import time
from typing import List, Optional

from . import common
from .common import Json, fill, read_text
from .cpus import clusters
from .device import memory_bytes
from .load import OtherLoad
from .power import battery
from .thermal import hottest_c, throttling, zones

#: Between questions to Android's services, which take the CPU for a while.
SERVICES_EVERY_S = 10.0


class Observer:
    """Looks at the device's conditions; cheap enough for the breaks between blocks."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.other = OtherLoad()
        self.asked_services = float("-inf")

    def look(self, taken: str, model: Optional[str] = None) -> Json:
        """The conditions now; frequencies first, since the other readings would disturb them.

        Args:
            taken: "before", "during" or "after".
            model: whose inferences have just been made.
        """
        at = time.monotonic()
        document: Json = {"taken": taken, "model": model, "at_s": round(at - self.began, 3)}
        during = taken == "during"
        with_services = not during or at - self.asked_services >= SERVICES_EVERY_S
        if with_services:
            self.asked_services = at
        fill(
            document,
            {
                "clusters": clusters,
                "zones": lambda: zones(during, with_services),
                "throttled_flags": lambda: throttling(with_services),
                "free_memory_bytes": lambda: memory_bytes("MemAvailable"),
                "load_1min": lambda: float(read_text(common.PROC + "/loadavg").split()[0]),
                "other_cpu": self.other.look,
                "battery": battery if with_services else _battery_later,
            },
        )
        return _summarized(document)


def _battery_later() -> Json:
    raise ValueError("read every %d s only" % SERVICES_EVERY_S)


def _summarized(document: Json) -> Json:
    missing = document["missing"]
    found: List[Json] = document["clusters"] or []
    frequencies = [c["frequency_hz"] for c in found if c["frequency_hz"] is not None]
    governors = sorted({c["governor"] for c in found if c["governor"] is not None})
    document["frequency_hz"] = max(frequencies) if frequencies else None
    document["governor"] = ",".join(governors) or None
    document["temperature_c"] = hottest_c(document["zones"]) if document["zones"] else None
    flags = document["throttled_flags"]
    document["throttled"], document["throttled_flags"] = flags or (None, None)
    reasons = {
        "frequency_hz": missing.pop("clusters", "no core tells its frequency"),
        "governor": "no core tells its governor",
        "temperature_c": missing.pop("zones", "no zone tells a temperature"),
        "throttled": missing.pop("throttled_flags", ""),
    }
    for name, reason in reasons.items():
        if document[name] is None:
            missing[name] = reason
    for name in ("clusters", "zones"):
        document[name] = document[name] or []
    return document
