"""The cores: which change their frequency together, how fast they go, and which to run on."""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List, Optional, Sequence, Union

from . import common
from .common import Json, Refusal, read_text

_CPUS = "/devices/system/cpu/"


def clusters() -> List[Json]:
    """Cores that share one clock (a cpufreq policy), in the order of their numbers.

    Raises:
        ValueError: the kernel shows no frequencies.
    """
    members: Dict[str, List[int]] = {}
    for path in glob.glob(common.SYS + _CPUS + "cpu[0-9]*/cpufreq"):
        members.setdefault(os.path.realpath(path), []).append(_number(path))
    found = []
    for path, cpus in sorted(members.items(), key=lambda pair: min(pair[1])):
        state = {
            "cpus": sorted(cpus),
            "governor": _text(path + "/scaling_governor"),
            "frequency_hz": _hertz(path + "/scaling_cur_freq"),
            "max_frequency_hz": _hertz(path + "/cpuinfo_max_freq"),
            "allowed_frequency_hz": _hertz(path + "/scaling_max_freq"),
        }
        if any(state[key] is not None for key in state if key != "cpus"):
            found.append(state)
    if not found:
        raise ValueError("no readable frequency in /sys/devices/system/cpu/cpu*/cpufreq")
    return found


def choose_cpus(
    wanted: Union[str, Sequence[int], None], counts: Optional[Sequence[int]] = None
) -> Optional[List[int]]:
    """The cores to run on; None where all are meant.

    Args:
        wanted: "big" or "little" (the fastest or the slowest kind), or the cores' numbers.
        counts: of cores per kind, from fastest to slowest, as the device's profile has them: for
            devices whose kernel does not tell the kinds apart. Cores are then taken to be numbered
            from the slowest kind to the fastest, as ARM systems do.

    Raises:
        Refusal: there is no such core, or the kinds can't be told apart.
    """
    if wanted is None:
        return None
    there = sorted(os.sched_getaffinity(0))
    if isinstance(wanted, str):
        kinds = _kinds(there)
        if len(kinds) < 2 and counts and len(counts) > 1 and sum(counts) == len(there):
            kinds, rest = [], list(there)
            for count in reversed(counts):
                kinds.append(rest[:count])
                rest = rest[count:]
        if len(kinds) < 2:
            raise Refusal(
                "cpus", "all %d cores look alike: there is no %s cluster" % (len(there), wanted)
            )
        return kinds[-1 if wanted == "big" else 0]
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise Refusal(
            "cpus",
            "core %s can't be used: there are %s"
            % (", ".join(map(str, missing)), ", ".join(map(str, there))),
        )
    return sorted(set(wanted))


def pin(cpus: Optional[Sequence[int]]) -> None:
    """Keeps this process, and the threads it will start, on some cores."""
    if cpus is not None:
        os.sched_setaffinity(0, cpus)


def _kinds(cpus: Sequence[int]) -> List[List[int]]:
    """Cores by their capacity (arm64 kernels tell it), else by their highest frequency."""
    for name, read in (("cpu_capacity", _integer), ("cpufreq/cpuinfo_max_freq", _integer)):
        strength = {cpu: read(common.SYS + _CPUS + "cpu%d/%s" % (cpu, name)) for cpu in cpus}
        values = sorted({value for value in strength.values() if value is not None})
        if values and None not in strength.values():
            return [[cpu for cpu in cpus if strength[cpu] == value] for value in values]
    return []


def _number(path: str) -> int:
    return int(re.findall(r"cpu(\d+)/", path)[-1])


def _text(path: str) -> Optional[str]:
    try:
        return read_text(path) or None
    except OSError:
        return None


def _integer(path: str) -> Optional[int]:
    text = _text(path)
    return int(text) if text is not None and text.isdigit() else None


def _hertz(path: str) -> Optional[int]:
    kilohertz = _integer(path)
    return 1000 * kilohertz if kilohertz else None
