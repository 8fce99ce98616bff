"""Files onto a device on which nothing of Edgewright runs: with `sh` and `sha256sum` alone."""

from __future__ import annotations

import hashlib
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DeviceError, IntegrityError, NoSpaceOnDevice, RuntimeMissing, UsageError
from ...files import sha256_file, user_path
from ..deploy import DIRECTORY_VARIABLE, device_directory, remove
from ..transports.base import Transport

# $1: the directory, $2: the tool. What a run could not remove, since the link or the host was
# gone, goes a day later: a younger one may be waiting for its turn.
_PREPARE = """
base=${1:-$HOME/.cache/edgewright}
umask 077 && mkdir -p "$base/blobs" "$base/runs" || exit 1
find "$base/runs" -mindepth 1 -maxdepth 1 -name "$2-*" -mtime +0 -exec rm -rf -- {} + 2>/dev/null
printf '%s\\n' "$base"
"""
_HASH = 'if [ -f "$1" ]; then sha256sum "$1"; else command -v sha256sum; echo; fi'


@dataclass(frozen=True)
class Program:
    """A tool on a device.

    Attributes:
        path: absolute, on the device.
        libraries: directory on the device where its shared libraries may lie.
        sha256: of the program; None where the device could not say.
    """

    path: str
    libraries: str
    sha256: str | None


def prepare_base(transport: Transport, tool: str, named: str | None = None) -> str:
    """The directory on the device, made if it was not there; `named` as of `device_directory`.

    What old runs of the tool left there is removed.

    Raises:
        UsageError: it is named, and no absolute path.
        DeviceError: it can't be made.
        NoSpaceOnDevice: the disk is full.
    """
    wanted = device_directory(transport, named) or ""
    done = transport.run(["sh", "-c", _PREPARE, "sh", wanted, tool])
    if done.code == 0 and done.stdout.startswith("/"):
        return done.stdout.splitlines()[0]
    if "No space left" in done.stderr:
        raise NoSpaceOnDevice(f"{transport.address}: no space left for {wanted or 'the cache'}")
    raise DeviceError(
        f"{transport.address}: can't prepare {wanted or 'the directory'}: "
        f"{_last(done.stderr) or f'exit code {done.code}'}",
        hint=f"set {DIRECTORY_VARIABLE} to a directory that the device's user can write to",
    )


def hash_there(transport: Transport, path: str) -> str | None:
    """The SHA-256 of a file on the device; None where there is no such file.

    Raises:
        RuntimeMissing: the device has no `sha256sum`.
    """
    done = transport.run(["sh", "-c", _HASH, "sh", path], timeout_s=600)
    word = done.stdout.strip().partition(" ")[0].lstrip("\\")
    if len(word) == 64:
        return word.lower()
    if done.code != 0 or "sha256sum" in done.stdout + done.stderr:
        missing = "not found" in done.stderr or done.code == 127
        if missing:
            raise RuntimeMissing(
                f"{transport.address} has no sha256sum, so nothing can be proven to have arrived",
                hint="install coreutils, busybox or toybox on the device",
            )
    return None


def deliver(
    transport: Transport,
    local: Path,
    sha256: str,
    final: str,
    journal: list[str],
    *,
    mode: int = 0o600,
) -> None:
    """Brings a file to its place, unless it lies there whole.

    Args:
        journal: takes the path it travels under and its own before it is sent, as `deploy` does.

    Raises:
        IntegrityError: it arrived other than it was sent.
        NoSpaceOnDevice: the disk is full.
        DeviceError: the place can't be written.
    """
    if hash_there(transport, final) == sha256:
        return
    part = f"{final}.{secrets.token_hex(4)}.part"
    made = transport.run(["mkdir", "-p", "--", part.rpartition("/")[0]])
    if made.code != 0:
        raise DeviceError(f"{transport.address}: can't write {final}: {_last(made.stderr)}")
    journal += [part, final]
    try:
        transport.push(local, part, mode=mode)
        if hash_there(transport, part) != sha256:
            raise IntegrityError(
                f"{transport.address}: {local.name} arrived damaged",
                hint="send it again; if it stays, check the disk",
            )
        done = transport.run(["mv", "-f", "--", part, final])
        if done.code != 0:
            raise DeviceError(f"{transport.address}: can't write {final}: {_last(done.stderr)}")
    except (DeviceError, IntegrityError) as error:
        if not error.transient:
            remove(transport, part)
        raise


def find_program(
    transport: Transport, base: str, name: str, given: str | None, journal: list[str]
) -> Program:
    """A tool by its name on the device's PATH, by its path there, or from here.

    A file of this machine is sent to the device, and a directory with all the files that lie in
    it: shared libraries are found there. What is on the device under that path, and not here, is
    taken as it is.

    Args:
        given: that path; None: it is looked for.
        journal: as of `deliver`.

    Raises:
        RuntimeMissing: there is none.
        UsageError: the directory holds no such program.
    """
    if given is None:
        done = transport.run(["sh", "-c", 'command -v "$1"', "sh", name])
        path = done.stdout.strip()
        if done.code != 0 or not path.startswith("/"):
            raise RuntimeMissing(
                f"{transport.address} has no {name} on its PATH",
                hint=f"say where it is, on this machine or on the device: --runner-path .../{name}",
            )
        return Program(path, path.rpartition("/")[0], hash_there(transport, path))
    local = user_path(given)
    if not _is_here(local):
        sha256 = hash_there(transport, given)
        if sha256 is None:
            raise RuntimeMissing(
                f"there is no {given}, neither on this machine nor on {transport.address}",
                hint=f"--runner-path names the program {name}, or a directory with it and its "
                "libraries",
            )
        return Program(given, given.rpartition("/")[0], sha256)
    files = [local]
    program = local
    if local.is_dir():
        program = local / name
        files = sorted(path for path in local.iterdir() if path.is_file())
        if program not in files:
            raise UsageError(f"there is no {name} in {given}")
    try:
        hashes = [sha256_file(path) for path in files]
    except OSError as error:
        raise UsageError(f"{given}: {error.strerror}") from error
    own = hashes[files.index(program)]
    if transport.address == "local":
        path = str(program.resolve())
        return Program(path, path.rpartition("/")[0], own)
    # Below blobs, where `devices clean` ends what runs and removes what lies.
    directory = f"{base}/blobs/{_name_of(files, hashes)}"
    for file, sha256 in zip(files, hashes, strict=True):
        is_program = file == program or bool(file.stat().st_mode & stat.S_IXUSR)
        mode = 0o700 if is_program else 0o600
        deliver(transport, file, sha256, f"{directory}/{file.name}", journal, mode=mode)
    return Program(f"{directory}/{program.name}", directory, own)


def _is_here(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system here takes may be one there
        return False


def _name_of(files: Sequence[Path], hashes: Sequence[str]) -> str:
    text = "\n".join(f"{sha256} {path.name}" for path, sha256 in zip(files, hashes, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
