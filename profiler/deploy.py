"""Getting onto a device: its Python, the agent, and files named by their content.

Everything lies in one directory of the device, `$HOME/.cache/edgewright` unless the caller, the
host's environment variable EDGEWRIGHT_DEVICE_DIR or the transport says otherwise:

    blobs/SHA256.SUFFIX     models, reference inputs, the agent; hashed there before they are used
    blobs.json              the hashes of large files that have not changed since
    runs/RUN_ID/            one measurement, while it lasts
    runtimes/               see device_runtime/install.py
    lock                    held by the measurement that runs
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import secrets
import shlex
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

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
from ..files import sha256_file
from ..targets.cpuinfo import clusters_from_cpuinfo, features_from_cpuinfo
from ..targets.profile import Architecture
from .agent_archive import agent_archive
from .garbage import MARK, garbage, lines_after_mark, understood
from .owner import Holder
from .result import DeviceFacts
from .runners import Installed
from .transports.base import Completed, Transport

DIRECTORY_VARIABLE = "EDGEWRIGHT_DEVICE_DIR"
#: Room left on the device's disk for results.
MARGIN_BYTES = 4 << 20
#: Of a file of this size or more, what has arrived is kept when the connection is lost.
RESUMED_BYTES = 1 << 20
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
            answer = json.loads(done.stdout)
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
        installed = Installed(
            address=address,
            python=shlex.join(self.python),
            python_version=facts.pop("python"),
            architecture=facts["architecture"],
            numpy=facts.pop("numpy"),
            runtimes=facts.pop("runtimes"),
        )
        cpu, features = _read_cpuinfo(facts.pop("cpuinfo") or "", facts["architecture"])
        facts["emulated"] = bool(facts["emulated"])
        unread = facts["missing"].pop("cpuinfo", "/proc/cpuinfo names no processor")
        if cpu is None:
            facts["missing"]["cpu"] = unread
        return DeviceFacts(address=address, cpu=cpu, features=features, **facts), installed


@dataclass(frozen=True)
class Blob:
    """A file for the device.

    Attributes:
        suffix: of its name there, with the dot.
    """

    path: Path
    sha256: str
    suffix: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path, sha256: str | None = None) -> Blob:
        """A blob from a file, hashed here unless its hash is known."""
        return cls(path, sha256 or sha256_file(path), path.suffix, path.stat().st_size)


@dataclass(frozen=True)
class Deployed:
    """Files that are on the device, whole.

    Attributes:
        paths: for each blob, in order.
        sent: those that were not there before, or not whole.
        sent_bytes: that were really sent; what had arrived before is under `reused_bytes`.
    """

    paths: tuple[str, ...]
    sent: tuple[str, ...]
    sent_bytes: int
    reused_bytes: int


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
        journal: as for `deploy`.

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
            hint="install Python 3 there, e.g. `sudo apt install python3 python3-pip`",
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
            part = _part(final)
            if journal is not None:
                journal += [part, final]
            transport.push(local, part)
            state = _prepare(transport, command, base, final, part, sha256)
    if not state["whole"]:
        raise IntegrityError(f"{transport.address}: the agent arrived damaged, twice")
    return Agent(transport, command, base, final, sha256, state["free_bytes"])


def blob_paths(agent: Agent, blobs: Sequence[Blob]) -> list[str]:
    """Where files are on the device, or would be."""
    return [f"{agent.base}/blobs/{blob.sha256}{blob.suffix}" for blob in blobs]


def deploy(
    agent: Agent,
    blobs: Sequence[Blob],
    on_bytes: Callable[[int, int], None] | None = None,
    journal: list[str] | None = None,
) -> Deployed:
    """Sends what the device does not have yet, and proves that it arrived.

    What is there is hashed first: a damaged file is sent again. Files get their name only when they
    are whole, so hosts that send the same at once do not meet. What has arrived of a large file
    when the connection is lost stays on the device for a day; the next call sends the rest.

    Args:
        on_bytes: called with (bytes there, bytes in all) of the files that are sent.
        journal: takes the path of each file that is sent, and the one it travels under, before it
            is: what an interrupted call may have left.

    Raises:
        NoSpaceOnDevice: the disk has no room, or ran full.
        IntegrityError: a file arrived other than it was sent.
    """
    paths = blob_paths(agent, blobs)
    wanted = dict(zip(paths, blobs, strict=True))
    deliveries = [
        _Delivery(blob, path, resumable_part(path) if blob.size_bytes >= RESUMED_BYTES else "")
        for path, blob in wanted.items()
    ]
    missing = _missing(agent, deliveries)
    sent = _send(agent, missing, on_bytes, journal)
    return Deployed(
        paths=tuple(paths),
        sent=tuple(delivery.path for delivery in missing),
        sent_bytes=sent,
        reused_bytes=max(0, sum(blob.size_bytes for blob in wanted.values()) - sent),
    )


@dataclass(frozen=True)
class _Delivery:
    """A file, where it is to be, and where what has arrived of it waits; empty: nowhere."""

    blob: Blob
    path: str
    kept: str
    arrived_bytes: int = 0


def _missing(agent: Agent, deliveries: Sequence[_Delivery]) -> list[_Delivery]:
    """Those of the files that the device does not have, or not undamaged."""
    if not deliveries:
        return []
    names = [name for delivery in deliveries for name in (delivery.path, delivery.kept)]
    found = agent.ask("look", *names, timeout_s=600)
    with understood(agent.transport.address, "look"):
        return [
            replace(delivery, arrived_bytes=int(found[delivery.path]["arrived_bytes"]))
            for delivery in deliveries
            if found[delivery.path]["sha256"] != delivery.blob.sha256
        ]


def _send(
    agent: Agent,
    missing: Sequence[_Delivery],
    on_bytes: Callable[[int, int], None] | None,
    journal: list[str] | None,
    again: bool = True,
) -> int:
    """Sends files, or what is missing of them; returns how many bytes were sent."""
    total = sum(delivery.blob.size_bytes for delivery in missing)
    needed = sum(max(0, d.blob.size_bytes - d.arrived_bytes) for d in missing)
    if missing and needed + MARGIN_BYTES > agent.free_bytes:
        raise NoSpaceOnDevice(
            f"{agent.transport.address}: {needed} bytes to send, and {MARGIN_BYTES} for results, "
            f"but {agent.free_bytes} bytes free in {agent.base}",
            hint=f"make room there, or set {DIRECTORY_VARIABLE} to a directory on a larger disk",
        )
    done = there = 0
    arrivals: list[str] = []
    for delivery in missing:
        steps: list[int] = []

        def count(bytes_done: int, _: int, steps: list[int] = steps, before: int = done) -> None:
            steps[:] = [*steps[:1], bytes_done]
            if on_bytes:
                on_bytes(before + bytes_done, total)

        part = delivery.kept or _part(delivery.path)
        if journal is not None:
            journal += [part, delivery.path]
        arrivals += [delivery.blob.sha256, part, delivery.path]
        try:
            agent.transport.push(delivery.blob.path, part, count, resume=bool(delivery.kept))
        except NoSpaceOnDevice:
            remove(agent.transport, *arrivals[1::3])
            raise
        done += delivery.blob.size_bytes
        there += steps[0] if delivery.kept and steps else 0
    if not arrivals:
        return 0
    try:
        agent.ask("adopt", *arrivals, timeout_s=600)
    except IntegrityError:
        if not (there and again):
            raise
        # What had arrived before may be what is damaged. It is deleted: all of it, once more.
        return done - there + _send(agent, _missing(agent, missing), on_bytes, journal, again=False)
    return done - there


def remove(transport: Transport, *paths: str) -> None:
    """Deletes files and directories on the device; what is not there is no error."""
    if not paths:
        return
    done = transport.run(["rm", "-rf", "--", *paths])
    if done.code != 0:
        raise DeviceError(f"{transport.address}: can't delete {paths[0]}: {_last(done.stderr)}")


def _read_cpuinfo(text: str, architecture: str) -> tuple[str | None, tuple[str, ...]]:
    """The CPU's cores in words, and what all of them can do."""
    known = next((name for name in get_args(Architecture) if name == architecture), None)
    if known is None:
        return None, ()
    clusters = clusters_from_cpuinfo(text, known, {})
    words = " + ".join(f"{cluster.count}x {cluster.core}" for cluster in clusters)
    return words or None, features_from_cpuinfo(text, known)


def _part(final: str) -> str:
    return f"{final}.{secrets.token_hex(4)}.part"


def resumable_part(final: str) -> str:
    """The same for every command of this user on this host, and for no other's."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        machine = hex(uuid.getnode())
    whose = f"{machine} {platform.node()} {getpass.getuser()}"
    return f"{final}.{hashlib.sha256(whose.encode()).hexdigest()[:8]}.part"


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
