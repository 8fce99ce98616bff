"""Host keys on record (known_hosts, as sshd(8) describes it) and whether an offered one fits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import HostKeyMismatch, UsageError
from .ssh_config import Destination, known_host_name

# An RSA key is on record under one name and is offered under the names of its signatures.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True)
class HostKey:
    """A server's public key: the algorithm's name and the key in SSH's own encoding."""

    algorithm: str
    blob: bytes

    def __str__(self) -> str:
        return f"{self.algorithm} {self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """As OpenSSH's programs show it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"

    @property
    def shown_by(self) -> str:
        """The command that shows the fingerprint on the server itself."""
        return f"ssh-keygen -lf /etc/ssh/ssh_host_{_kind(self)}_key.pub"


@dataclass(frozen=True)
class KnownKey:
    """A key on record, and where."""

    key: HostKey
    path: Path
    line: int
    revoked: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} has {self.key}"


def read_known_keys(paths: Iterable[Path], name: str) -> list[KnownKey]:
    """The keys on record for a host; files that don't exist are passed over.

    Certificate authorities are not understood and passed over, too.

    Raises:
        UsageError: a file can't be read.
    """
    found: list[KnownKey] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"known hosts {path}: {error.strerror or error}") from error
        found += _keys_in(text, path, name)
    return found


def preferred_algorithms(known: Iterable[KnownKey], supported: Sequence[str]) -> list[str]:
    """The algorithms to ask for, those of the keys on record first.

    A server has keys of several algorithms and shows the one that is asked for first: without
    this a server on record by one key would look like a stranger with another.
    """
    wanted = [
        name
        for entry in known
        if not entry.revoked
        for name in _ALGORITHMS.get(entry.key.algorithm, (entry.key.algorithm,))
    ]
    return list(dict.fromkeys([*(n for n in wanted if n in supported), *supported]))


def verify_host_key(destination: Destination, known: Sequence[KnownKey], offered: HostKey) -> None:
    """Accepts the key that a server offers, or not.

    Raises:
        HostKeyMismatch: the host is unknown, its key has changed, or the key is revoked.
    """
    for entry in known:
        if entry.revoked and entry.key.blob == offered.blob:
            raise HostKeyMismatch(
                f"{destination}: its host key {offered} is marked as revoked in "
                f"{entry.path}:{entry.line}",
                hint="give the device new host keys; whoever has this one can pose as it",
            )
    valid = [entry for entry in known if not entry.revoked]
    if any(entry.key.blob == offered.blob for entry in valid):
        return
    if not valid:
        raise HostKeyMismatch(
            f"{destination}: its host key is unknown; it offers {offered}",
            hint=f"{_compare(offered)}, then accept it with: {_accept(destination, offered)}",
        )
    same = [entry for entry in valid if entry.key.algorithm == offered.algorithm]
    raise HostKeyMismatch(
        f"{destination}: its host key HAS CHANGED; it offers {offered}, but "
        + " and ".join(str(entry) for entry in same or valid),
        hint="somebody may be intercepting the connection, unless the device was installed anew. "
        f"If so, {_compare(offered)}, then forget the old key with: {_forget(destination, valid)} "
        f"and accept the new one with: {_accept(destination, offered)}",
    )


def entry_for(destination: Destination, key: HostKey, hashed: bool) -> str:
    """The line of a known_hosts file that puts a key on record.

    Args:
        hashed: whether the file is not to give away the host's name.
    """
    name = destination.known_as.lower()
    if hashed:
        salt = secrets.token_bytes(20)
        digest = hmac.digest(salt, name.encode(), "sha1")
        name = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"{name} {key.algorithm} {base64.b64encode(key.blob).decode()}\n"


def _compare(offered: HostKey) -> str:
    return (
        "compare the fingerprint with the one that the device itself shows on its console "
        f"({offered.shown_by})"
    )


def _accept(destination: Destination, offered: HostKey) -> str:
    ours = shlex.join(["edgewright", "devices", "trust", str(destination.asked_for)])
    plain = destination.known_as == known_host_name(destination.host, destination.port)
    if destination.proxy_command or destination.jump or not plain or not destination.known_hosts:
        return ours  # ssh-keyscan knows neither proxies nor aliases
    scan = ["ssh-keyscan", "-p", str(destination.port), "-t", _kind(offered), destination.host]
    return f"{ours} (or {shlex.join(scan)} >> {_shown(destination.known_hosts[0])})"


def _forget(destination: Destination, known: Sequence[KnownKey]) -> str:
    paths = dict.fromkeys(entry.path for entry in known)
    return " && ".join(
        f"ssh-keygen -R {shlex.quote(destination.known_as)} -f {_shown(path)}" for path in paths
    )


def _kind(key: HostKey) -> str:
    return key.algorithm.removeprefix("ssh-").partition("-")[0]


def _shown(path: Path) -> str:
    if path.is_relative_to(Path.home()):
        return "~/" + shlex.quote(str(path.relative_to(Path.home())))
    return shlex.quote(str(path))


def _keys_in(text: str, path: Path, name: str) -> Iterator[KnownKey]:
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else None
        if len(fields) < 3 or fields[0].startswith("#") or marker not in (None, "@revoked"):
            continue
        if not _names(fields[0], name):
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        yield KnownKey(HostKey(fields[1], blob), path, number, marker is not None)


def _names(patterns: str, name: str) -> bool:
    """Whether the first field of a line means this host."""
    if patterns.startswith("|1|"):
        return _is_hash_of(patterns, name)
    matched = False
    for pattern in patterns.lower().split(","):
        if _matches(pattern.removeprefix("!"), name.lower()):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _matches(pattern: str, name: str) -> bool:
    # Not fnmatch: to it the brackets of "[host]:port" would mean a choice of characters.
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name) is not None


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hashed.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(digest, hmac.digest(salt, name.lower().encode(), "sha1"))
