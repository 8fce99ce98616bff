"""Files on a device, named by their content: sent once, resumed after a cut, proven there."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import IntegrityError, NoSpaceOnDevice
from ..files import sha256_file
from .deploy import DIRECTORY_VARIABLE, Agent, part_of, remove
from .garbage import understood
from .owner import owner_name

#: Room left on the device's disk for results.
MARGIN_BYTES = 4 << 20
#: Of a file of this size or more, what has arrived is kept when the connection is lost.
RESUMED_BYTES = 1 << 20


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
        journal: takes the path of each file that is sent, and what comes with it there, before it
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

        part = delivery.kept or part_of(delivery.path)
        if journal is not None:
            journal += [part, delivery.path]
            if delivery.kept:  # its hash is noted there; without the notes all is hashed anew
                journal.append(f"{agent.base}/blobs.json")
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


def resumable_part(final: str) -> str:
    """The same for every command of this user on this host, and for no other's."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        machine = hex(uuid.getnode())
    whose = f"{machine} {owner_name()}"
    return f"{final}.{hashlib.sha256(whose.encode()).hexdigest()[:8]}.part"
