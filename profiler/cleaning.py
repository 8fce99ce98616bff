"""Ending and removing everything that Edgewright has left on a device.

With the device's shell alone: it has to work where the disk is full and where there is no Python.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace

from ..errors import DeviceError
from .deploy import busy, device_directory
from .owner import Holder
from .transports.base import Transport

#: What Edgewright writes into its directory on a device. Only this is removed: the directory may
#: be one that the user named, with more in it.
ENTRIES = ("blobs", "blobs.json", "blobs.json.part", "runs", "runtimes", "lock")

# $1: the directory, empty for the usual one. Prints it, the size in KiB of what is Edgewright's in
# it, the processes that run from it, and what the lock says. Processes are those whose command line
# names a file below these directories; not every grep reads past the NUL between two words, but all
# shells drop it.
_LOOK = f"""
LC_ALL=C; export LC_ALL
base=${{1:-$HOME/.cache/edgewright}}
echo "edgewright $base"
cd "$base" 2>/dev/null || exit 0
du -sk {" ".join(ENTRIES)} 2>/dev/null | while read -r size name; do echo "size $size"; done
for file in /proc/[0-9]*/cmdline
do
  words=$(cat "$file") 2>/dev/null
  case $words in
    *"$base/blobs/"* | *"$base/runs/"* | *"$base/runtimes/"*)
      process=${{file#/proc/}}; echo "process ${{process%/cmdline}}" ;;
  esac
done 2>/dev/null
echo "now $(cut -d ' ' -f 1 /proc/uptime)"
[ -f lock ] && echo "lock $(cat lock)"
exit 0
"""

# $1: the directory. Removes what is Edgewright's; prints what stays.
_REMOVE = f"""
LC_ALL=C; export LC_ALL
cd "$1" 2>/dev/null || exit 0
rm -rf -- {" ".join(ENTRIES)} || exit 1
cd / && rmdir "$1" 2>/dev/null || ls -A "$1"
exit 0
"""

_KILL = 'kill -9 "$@" 2>/dev/null; exit 0'
KILL_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Leftovers:
    """What Edgewright has on a device.

    Attributes:
        directory: where.
        size_bytes: on the device's disk.
        processes: that run from there.
        holder: whose measurement they are, if any runs.
        kept: what else is in the directory, after it was cleaned.
    """

    directory: str
    size_bytes: int
    processes: tuple[int, ...] = ()
    holder: Holder | None = None
    kept: tuple[str, ...] = ()


def look(transport: Transport) -> Leftovers:
    """What Edgewright has on a device; nothing is changed.

    Raises:
        DeviceError: the device does not answer, or not as a POSIX shell does.
    """
    done = transport.run(["sh", "-c", _LOOK, "sh", device_directory(transport) or ""])
    lines = [line.partition(" ")[::2] for line in done.stdout.splitlines()]
    found: dict[str, list[str]] = {}
    for word, rest in lines:
        found.setdefault(word, []).append(rest)
    try:
        [directory] = found["edgewright"]
        return Leftovers(
            directory=directory,
            size_bytes=1024 * sum(map(int, found.get("size", []))),
            processes=tuple(map(int, found.get("process", []))),
            holder=_holder(found) if {"process", "lock"} <= found.keys() else None,
        )
    except (KeyError, ValueError) as error:
        raise DeviceError(
            f"{transport.address}: its shell answers with {done.stdout or done.stderr!r:.200}"
        ) from error


def clean(transport: Transport, *, force: bool = False) -> Leftovers:
    """Ends what Edgewright runs on a device and removes what it keeps there.

    Args:
        force: also where a measurement runs that is another user's, or that a process on this host
            waits for.

    Returns:
        What was there.

    Raises:
        DeviceBusy: such a measurement runs.
        DeviceError: the device does not answer, or something can't be removed.
    """
    found = look(transport)
    holder = found.holder
    if holder is not None and not force and (holder.is_followed_here or not holder.is_ours):
        error = busy(transport.address, holder)
        error.hint = "wait until it has ended, or end it with --force"
        raise error
    left = found
    deadline = time.monotonic() + KILL_PATIENCE_S
    while left.processes:
        if time.monotonic() > deadline:
            raise DeviceError(
                f"{transport.address}: processes {', '.join(map(str, left.processes))} run from "
                f"{found.directory} and can't be ended",
                hint="end them on the device, as the user who started them, and clean again",
            )
        transport.run(["sh", "-c", _KILL, "sh", *map(str, left.processes)])
        time.sleep(0.1)
        left = look(transport)
    done = transport.run(["sh", "-c", _REMOVE, "sh", found.directory], timeout_s=600)
    if done.code != 0:
        raise DeviceError(
            f"{transport.address}: can't remove {found.directory}: {done.stderr.strip()}"
        )
    return replace(found, kept=tuple(done.stdout.splitlines()))


def _holder(found: dict[str, list[str]]) -> Holder:
    try:
        said = json.loads(found["lock"][0])
        for_s = max(0.0, float(found["now"][0]) - said["since"])
        return Holder.model_validate({**said, "for_s": for_s})
    except (ValueError, TypeError, LookupError):
        return Holder()
