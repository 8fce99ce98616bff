"""Getting onto a device: its Python, and the agent.

Everything lies in one directory of the device, `$HOME/.cache/edgewright` unless the caller, the
host's environment variable EDGEWRIGHT_DEVICE_DIR or the transport says otherwise:

    blobs/SHA256.SUFFIX     models, reference inputs, the agent; hashed there before they are used
    blobs.json              the hashes of large files that have not changed since
    runs/RUN_ID/            one measurement, while it lasts
    runtimes/               see device_runtime/install.py
    lock                    held by the measurement that runs
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..errors import (
    AgentFailed,
    DeviceBusy,
    DeviceError,
    DeviceOutOfMemory,
    IntegrityError,
    NoSpaceOnDevice,
    RuntimeMissing,
    UsageError,
)
from ..targets.cpuinfo import clusters_from_cpuinfo, features_from_cpuinfo
from ..targets.hwcap import features_from_hwcap
from ..targets.profile import known_architecture
from .agent_archive import agent_archive
from .garbage import MARK, garbage, lines_after_mark, read_answer, understood
from .owner import Holder
from .result import DeviceFacts
from .runners import Installed
from .transports.base import Completed, Transport

DIRECTORY_VARIABLE = "EDGEWRIGHT_DEVICE_DIR"
MIN_PYTHON = (3, 7)

_FIND = f'echo {MARK}; printf "%s\\n" "$HOME"; command -v "$1" || exit 127'

# Prepares the directories, adopts the agent if it was just pushed and is whole, and says what is
# there. It runs before anything that was pushed does.
_PREPARE = """
import errno, hashlib, json, os, sys
base, final, part, wanted = sys.argv[1:]
def digest(path):
    try:
        with open(path, "rb") as handle:
            return hashlib.sha256(handle.read()).hexdigest()
    except FileNotFoundError:
        return None
try:
    for name in ("", "/blobs", "/runs"):
        os.makedirs(base + name, 0o700, True)
    if part:
        if digest(part) == wanted:
            os.replace(part, final)
        else:
            os.unlink(part)
    disk = os.statvfs(base)
    answer = {"whole": digest(final) == wanted, "free_bytes": disk.f_bavail * disk.f_frsize}
except OSError as error:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    answer = {"error": error.strerror or str(error), "full": full}
print(json.dumps(dict(answer, python=sys.version_info[:3])))
"""


@dataclass(frozen=True)
class Agent:
    """The agent on a device, ready to be asked.

    Attributes:
        python: the command that starts the device's Python.
        base: the directory on the device.
        path: the agent itself.
        sha256: of the agent.
        free_bytes: of the disk, when the agent was brought there.
    """

    transport: Transport
    python: tuple[str, ...]
    base: str
    path: str
    sha256: str
    free_bytes: int

    def ask(self, *arguments: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """One command of the agent.

        Raises:
            DeviceError: the device said no, in the class that fits; or the way to it failed.
            IntegrityError: a pushed file is not what was sent.
            UsageError: it has not the cores that were named.
        """
        done = self.transport.run([*self.python, self.path, *arguments], timeout_s=timeout_s)
        address = self.transport.address
        try:
            answer = read_answer(done.stdout)
        except (ValueError, RecursionError):
            raise _unanswered(address, arguments[0], done) from None
        if not isinstance(answer, dict):
            raise garbage(address, arguments[0], done.stdout)
        if "error" in answer and done.code != 0:
            with understood(address, arguments[0]):
                raise _refused(address, answer["error"])
        return answer

    def read_facts(self) -> tuple[DeviceFacts, Installed]:
        """What the device is, and what it has installed."""
        facts = self.ask("facts")
        with understood(self.transport.address, "facts"):
            return self._understand(facts)

    def _understand(self, facts: dict[str, Any]) -> tuple[DeviceFacts, Installed]:
        address = self.transport.address
        installed = TypeAdapter(Installed).validate_python(
            {
                "address": address,
                "python": shlex.join(self.python),
                "python_version": facts.pop("python"),
                "architecture": facts["architecture"],
                "numpy": facts.pop("numpy"),
                "runtimes": facts.pop("runtimes"),
            }
        )
        hwcap = facts.pop("hwcap")
        facts["missing"].pop("hwcap", None)
        cpu, features = _read_cpu(facts.pop("cpuinfo") or "", hwcap, facts["architecture"])
        unread = facts["missing"].pop("cpuinfo", "/proc/cpuinfo names no processor")
        if cpu is None:
            facts["missing"]["cpu"] = unread
        return DeviceFacts(address=address, cpu=cpu, features=features, **facts), installed


def device_directory(transport: Transport, base: str | None = None) -> str | None:
    """The directory on the device; None: `.cache/edgewright` below the home there.

    Raises:
        UsageError: `base`, or what the environment variable says, is not an absolute path.
    """
    named = base or os.environ.get(DIRECTORY_VARIABLE) or transport.directory
    if named is not None and (not named.startswith("/") or not named.strip("/")):
        raise UsageError(
            f"{named!r} can't be the directory on the device: an absolute path is expected",
            hint=f"set {DIRECTORY_VARIABLE} to a directory that the device's user can write to",
        )
    return named and named.rstrip("/")


def install_agent(
    transport: Transport,
    *,
    base: str | None = None,
    python: str | tuple[str, ...] | None = None,
    journal: list[str] | None = None,
) -> Agent:
    """Brings the agent to a device, or finds it there.

    Args:
        base: absolute directory on the device.
        python: name or path of its Python, or the command that starts it; by default 'python3', on
            this machine the running one.
        journal: as for `blobs.deploy`.

    Raises:
        RuntimeMissing: there is no Python, or one that is too old.
        NoSpaceOnDevice: the disk is full.
        IntegrityError: the agent arrived damaged, twice.
        UsageError: `base` is not an absolute path.
    """
    is_here = transport.address == "local"
    given = python or (sys.executable if is_here else "python3")
    wanted, *arguments = [given] if isinstance(given, str) else given
    found = transport.run(["sh", "-c", _FIND, "sh", wanted])
    lines = lines_after_mark(transport.address, "the first command", found.stdout)
    if found.code != 0 or len(lines) < 2:
        raise RuntimeMissing(
            f"{transport.address} has no {wanted}",
            hint=None
            if transport.address.startswith("adb:")  # phones have none, and can't be given one
            else "install Python 3 there, e.g. `sudo apt install python3 python3-pip`",
        )
    base = device_directory(transport, base) or f"{lines[0]}/.cache/edgewright"
    archive = agent_archive()
    sha256 = hashlib.sha256(archive).hexdigest()
    final = f"{base}/blobs/{sha256}.pyz"
    command = (lines[1], *arguments)
    state = _prepare(transport, command, base, final, "", sha256)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
        local = Path(scratch) / "agent.pyz"
        local.write_bytes(archive)
        for _ in range(2):
            if state["whole"]:
                break
            part = part_of(final)
            if journal is not None:
                journal += [part, final]
            transport.push(local, part)
            state = _prepare(transport, command, base, final, part, sha256)
    if not state["whole"]:
        raise IntegrityError(f"{transport.address}: the agent arrived damaged, twice")
    return Agent(transport, command, base, final, sha256, state["free_bytes"])


def remove(transport: Transport, *paths: str) -> None:
    """Deletes files and directories on the device; what is not there is no error."""
    if not paths:
        return
    done = transport.run(["rm", "-rf", "--", *paths])
    if done.code != 0:
        raise DeviceError(f"{transport.address}: can't delete {paths[0]}: {_last(done.stderr)}")


def _read_cpu(
    cpuinfo: str, hwcap: Sequence[int] | None, architecture: str
) -> tuple[str | None, tuple[str, ...]]:
    """The CPU's cores in words, and what all of them can do."""
    known = known_architecture(architecture)
    if known is None:
        return None, ()
    clusters = clusters_from_cpuinfo(cpuinfo, known, {})
    words = " + ".join(f"{cluster.count}x {cluster.core}" for cluster in clusters)
    promised = features_from_hwcap(known, *hwcap) if hwcap else None
    return words or None, features_from_cpuinfo(cpuinfo, known) if promised is None else promised


def part_of(final: str) -> str:
    """A new name for a file while it is on its way."""
    return f"{final}.{secrets.token_hex(4)}.part"


def _prepare(
    transport: Transport,
    python: tuple[str, ...],
    base: str,
    final: str,
    part: str,
    sha256: str,
) -> dict[str, Any]:
    done = transport.run([*python, "-c", _PREPARE, base, final, part, sha256])
    address = transport.address
    if not done.stdout and done.code != 0:
        raise AgentFailed(
            f"{address}: {shlex.join(python)} does not run: "
            f"{_last(done.stderr) or f'exit code {done.code}'}"
        )
    with understood(address, "preparing"):
        answer: dict[str, Any] = json.loads(done.stdout)
        version = tuple(map(int, answer["python"]))
        if version < MIN_PYTHON:
            raise RuntimeMissing(
                f"{address}: {shlex.join(python)} is Python {'.'.join(map(str, version))}; 3.7 or "
                "newer is needed"
            )
        if "error" not in answer:
            return {"whole": answer["whole"], "free_bytes": int(answer["free_bytes"])}
    if answer["full"]:
        raise NoSpaceOnDevice(
            f"{address}: no space left for {base}",
            hint="make room there: `edgewright devices clean` removes what Edgewright keeps",
        )
    raise DeviceError(
        f"{address}: can't prepare {base}: {answer['error']}",
        hint=f"set {DIRECTORY_VARIABLE} to a directory that the device's user can write to",
    )


def _unanswered(address: str, command: str, done: Completed) -> DeviceError:
    words = f"{address}: the agent's '{command}' ended with code {done.code}"
    if done.code == 137:
        return DeviceOutOfMemory(f"{words}: the device killed it, most likely for memory")
    if "No space left" in done.stderr:
        return NoSpaceOnDevice(f"{words}: no space left on the device")
    if "can't open file" in done.stderr:  # Python's words for a script that is not there
        return AgentFailed(
            f"{address}: the agent is gone: somebody has cleaned the device", hint="measure again"
        )
    if done.stdout.strip():
        return garbage(address, command, done.stdout)
    return AgentFailed(f"{words} and no answer: {_last(done.stderr) or 'it said nothing'}")


def busy(address: str, holder: Holder) -> DeviceBusy:
    """The error of a device on which another measurement runs."""
    return DeviceBusy(
        f"{address} is busy: {holder.describe()}",
        hint="wait until it has ended: two at once would disturb each other",
    )


def _refused(address: str, error: dict[str, Any]) -> DeviceError | IntegrityError | UsageError:
    kind, message = error["kind"], error["message"]
    if kind == "busy":
        return busy(address, Holder.model_validate(error["holder"]))
    if kind == "cpus":
        return UsageError(f"{address}: {message}", hint="name other cores, or leave them out")
    if kind == "integrity":
        return IntegrityError(
            f"{address}: {message}", hint="send it again; if it stays, check the disk"
        )
    if kind == "no-space":
        return NoSpaceOnDevice(f"{address}: {message}", hint="make room on the device's disk")
    return AgentFailed(f"{address}: {message}")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
