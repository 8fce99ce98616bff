"""Putting a device's host key on record, after somebody has looked at its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import HostKeyMismatch, UsageError
from .ssh_address import parse_ssh_address
from .ssh_config import Destination, find_destination
from .ssh_connection import offered_host_key
from .ssh_known_hosts import HostKey, entry_for, read_known_keys, verify_host_key


@dataclass(frozen=True)
class Offer:
    """A key that a server shows and that is not on record yet.

    Attributes:
        server: the server, as user@host:port.
        fingerprint: of the key, as OpenSSH's programs show it.
        command: what shows the server's own fingerprint on its console.
        path: the known_hosts file that would take it.
    """

    server: str
    algorithm: str
    fingerprint: str
    command: str
    path: Path


def accept_host_key(address: str, confirm: Callable[[Offer], bool] = lambda offer: True) -> str:
    """Puts the key that an SSH server shows on record in the user's known_hosts file.

    Where the way leads through other servers (ProxyJump), their keys come first. A key that is on
    record is neither asked about nor written again.

    Args:
        address: ssh://[user@]host[:port].
        confirm: whether a key is the right one; asked once for each that is not on record.

    Returns:
        The fingerprint of the device's key.

    Raises:
        HostKeyMismatch: another key is on record, or this one as revoked; or `confirm` said no.
        Unreachable, Unauthorized, DeviceError: there is no way to the server.
        UsageError: the address, the SSH configuration or the known_hosts file is the cause.
    """
    return _accept(find_destination(parse_ssh_address(address)), confirm).fingerprint


def _accept(destination: Destination, confirm: Callable[[Offer], bool]) -> HostKey:
    if destination.jump is not None:
        _accept(destination.jump, confirm)
    known = read_known_keys(destination.known_hosts, destination.known_as)
    offered = offered_host_key(destination, known)
    if any(not entry.revoked or entry.key.blob == offered.blob for entry in known):
        verify_host_key(destination, known, offered)
        return offered
    if not destination.known_hosts:
        raise UsageError(f"{destination}: the SSH configuration names no known_hosts file")
    path = destination.known_hosts[0]
    offer = Offer(
        server=str(destination),
        algorithm=offered.algorithm,
        fingerprint=offered.fingerprint,
        command=offered.shown_by,
        path=path,
    )
    if not confirm(offer):
        raise HostKeyMismatch(f"{destination}: its host key {offered} was not accepted")
    _append(path, destination, offered)
    return offered


def _append(path: Path, destination: Destination, key: HostKey) -> None:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"known hosts {path}: it is not a file, and would keep nothing")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            there = file.read()
            # Debian's own configuration hashes names, which we do not read: the file shows it.
            hashed = destination.hash_known_hosts or b"\n|1|" in b"\n" + there
            unended = there and not there.endswith(b"\n")
            line = entry_for(destination, key, hashed)
            file.write((b"\n" if unended else b"") + line.encode())
    except OSError as error:
        raise UsageError(f"known hosts {path}: {error.strerror or error}") from error
