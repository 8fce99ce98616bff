"""What a long run shows of heat: the latency at its beginning, at its end, and between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field

from ..targets.profile import Model

#: So many stretches are told apart.
STRETCHES = 10


class Stretch(Model):
    """One part of a long run, and what the device was like in it."""

    from_s: float = Field(description="seconds of inference since the first sample")
    to_s: float
    p50_ms: float
    p90_ms: float
    temperature_c: float | None = Field(description="the highest that was seen")
    frequency_hz: int | None = Field(description="the lowest that was seen")
    throttled: bool | None


class Moment(Model):
    """What matters here of the conditions at one moment while measuring."""

    at_s: float
    temperature_c: float | None
    frequency_hz: int | None
    throttled: bool | None


def over_time(
    samples_ms: Sequence[float], moments: Sequence[Moment], unkept_s: float = 0.0
) -> tuple[Stretch, ...]:
    """Cuts a run into stretches of about equal time.

    The moments are spread over the run's whole time by the clock, the samples over the time of the
    inferences alone: with one model these are the same but for the breaks between blocks.

    Args:
        samples_ms: in the order they were taken.
        moments: the conditions while measuring, in order.
        unkept_s: time of inferences between the samples, evenly.
    """
    ends = np.cumsum(samples_ms) / 1000
    ends *= (ends[-1] + unkept_s) / ends[-1]
    edges = np.linspace(0, ends[-1], STRETCHES + 1)
    first, last = (moments[0].at_s, moments[-1].at_s) if moments else (0.0, 0.0)
    found = []
    for low, high in pairwise(edges):
        inside = np.asarray(samples_ms)[(ends > low) & (ends <= high)]
        if not inside.size:
            continue
        share = [
            (m, (m.at_s - first) / (last - first) * ends[-1] if last > first else 0.0)
            for m in moments
        ]
        seen = [m for m, at in share if low <= at <= high]
        temperatures = [m.temperature_c for m in seen if m.temperature_c is not None]
        frequencies = [m.frequency_hz for m in seen if m.frequency_hz is not None]
        flags = [m.throttled for m in seen if m.throttled is not None]
        p50, p90 = (float(value) for value in np.percentile(inside, (50, 90)))
        found.append(
            Stretch(
                from_s=float(low),
                to_s=float(high),
                p50_ms=p50,
                p90_ms=p90,
                temperature_c=max(temperatures, default=None),
                frequency_hz=min(frequencies, default=None),
                throttled=any(flags) if flags else None,
            )
        )
    return tuple(found)
