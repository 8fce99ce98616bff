"""Bringing a built runtime to a device: once, whole, and known by its hash.

    runtimes/SHA256/        one runtime; its name is the hash of the archive that it came in
    runtimes/SHA256.*.part  one on its way: the archive, or what is being unpacked

A shell, gzip or gunzip, tar, sha256sum, xargs and df are all that it needs there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import DeviceError, IntegrityError, NoSpaceOnDevice, RuntimeMissing
from ..blobs import resumable_part
from ..deploy import remove
from ..garbage import MARK, garbage, lines_after_mark
from ..transports.base import Completed, Transport
from ..transports.copying import file_error
from .bundle import LAUNCHER, Bundle
from .cache import Kept

#: Files take whole blocks of the disk.
_BLOCK_BYTES = 4096
_UNPACK_TIMEOUT_S = 900.0
_FROM_HASH = '_hash() { set -- $(sha256sum); printf "%s" "$1"; }\n'
# Some builds of toybox have the one, some the other.
_FROM_GZIP = """\
_gunzip() { if command -v gzip >/dev/null; then gzip -dc "$1"; else gunzip -c "$1"; fi; }
"""

# $1: directory of the runtimes, $2: this one, $3: hash of its files' hashes. Prints what is the
# matter with the device, or "ready", how the runtime is there, and what df says of the disk.
# Runtimes that nobody has used for a month, and what was left on its way, go.
_LOOK = (
    _FROM_HASH
    + f"""\
LC_ALL=C; export LC_ALL; umask 077; echo {MARK}
"""
    + """\
mkdir -p "$1" || exit 1
for tool in sha256sum xargs tar df
do command -v "$tool" >/dev/null || { echo "without $tool"; exit 0; }
done
command -v gzip >/dev/null || command -v gunzip >/dev/null || { echo "without gzip"; exit 0; }
probe=$1/.may-run-$$
printf '#!%s\\n' "$(command -v sh)" > "$probe" && chmod 700 "$probe" || { rm -f "$probe"; exit 1; }
"$probe" 2>/dev/null; code=$?
rm -f "$probe"
[ "$code" -eq 126 ] && { echo noexec; exit 0; }
echo ready
if [ ! -d "$2" ]; then echo absent
elif [ "$(cd "$2" && xargs sha256sum < FILES 2>/dev/null | _hash)" = "$3" ]
then touch "$2"; echo whole
else echo damaged
fi
find "$1"/* -prune '(' -name '*.part' -mtime +1 -o -mtime +30 ')' -exec rm -rf {} + 2>/dev/null
df -Pk "$1" | tail -n 1
"""
)

# $1: the archive, $2: its hash, $3: where to unpack, $4: the runtime's place, $5: as $3 above.
# Prints "damaged" where the archive is not what was sent; it is deleted then.
# Where another host was quicker, mv puts ours inside its one.
_UNPACK = (
    _FROM_HASH
    + _FROM_GZIP
    + f"""\
LC_ALL=C; export LC_ALL; umask 077; echo {MARK}
"""
    + """\
[ "$(_hash < "$1")" = "$2" ] || { rm -f "$1"; echo damaged; exit 0; }
mkdir "$3" "$3/tmp" && _gunzip "$1" | (cd "$3" && tar -xf -) || { rm -rf "$3" "$1"; exit 1; }
if [ "$(cd "$3" && xargs sha256sum < FILES | _hash)" != "$5" ]
then rm -rf "$3" "$1"; echo "the files differ from those in the archive" >&2; exit 1
fi
touch "$3"
rm -rf "$4" && mv "$3" "$4" || { rm -rf "$3"; exit 1; }
rm -rf "$4/${3##*/}" "$1"
echo installed
"""
)


@dataclass(frozen=True)
class Installation:
    """A runtime that is on a device, whole.

    Attributes:
        python: the command that starts its Python.
        sent_bytes: that it took; 0 where it was there.
    """

    bundle: Bundle
    python: tuple[str, ...]
    sent_bytes: int


def install_runtime(
    transport: Transport,
    base: str,
    kept: Kept,
    on_bytes: Callable[[int, int], None] | None = None,
    journal: list[str] | None = None,
) -> Installation:
    """Has a runtime on a device: finds it, or sends and unpacks it.

    Args:
        base: Edgewright's directory on the device.
        on_bytes: called with (bytes there, bytes in all).
        journal: takes what an interrupted call may leave on the device.

    Raises:
        NoSpaceOnDevice: there is no room for it.
        RuntimeMissing: the device can't run what is put there, or can't unpack it.
        IntegrityError: it arrived damaged, twice.
        DeviceError: the directory can't be written, or the way to the device failed.
    """
    bundle = kept.bundle
    runtimes = f"{base}/runtimes"
    place = f"{runtimes}/{bundle.sha256}"
    python = ("sh", f"{place}/{LAUNCHER}")
    state, free_bytes = _look(transport, runtimes, place, bundle)
    if state == "whole":
        return Installation(bundle, python, 0)
    needed = bundle.archive_bytes + bundle.installed_bytes + bundle.files * _BLOCK_BYTES
    if free_bytes is not None and free_bytes < needed:
        raise NoSpaceOnDevice(
            f"{transport.address}: the runtime needs {_mb(needed)} MB while it is unpacked, "
            f"{_mb(bundle.installed_bytes)} MB afterwards, and {base} has {_mb(free_bytes)} MB",
            hint="make room there, or set EDGEWRIGHT_DEVICE_DIR to a directory on a larger disk",
        )
    archive = resumable_part(f"{place}.tar.gz")
    for _ in range(2):
        staging = f"{place}.{secrets.token_hex(4)}.part"
        if journal is not None:
            journal += [archive, staging, place]
        try:
            transport.push(kept.archive, archive, on_bytes, resume=True)
        except NoSpaceOnDevice:
            remove(transport, archive)
            raise
        done = transport.run(
            [
                *("sh", "-c", _UNPACK, "sh"),
                *(archive, bundle.sha256, staging, place, bundle.files_sha256),
            ],
            timeout_s=_UNPACK_TIMEOUT_S,
        )
        if done.code != 0:
            raise _failed(transport, place, done)
        said = lines_after_mark(transport.address, "the unpacked runtime", done.stdout)
        if said == ["installed"]:
            return Installation(bundle, python, bundle.archive_bytes)
    raise IntegrityError(
        f"{transport.address}: the runtime arrived damaged, twice",
        hint=f"if `edgewright runtime remove {bundle.sha256[:12]}` and building it again do not "
        "help, check the device's disk",
    )


def _look(
    transport: Transport, runtimes: str, place: str, bundle: Bundle
) -> tuple[str, int | None]:
    """How the runtime is there, and the bytes that are free (None: the device does not say)."""
    done = transport.run(
        ["sh", "-c", _LOOK, "sh", runtimes, place, bundle.files_sha256], timeout_s=300
    )
    if done.code != 0:
        raise _failed(transport, runtimes, done)
    lines = lines_after_mark(transport.address, "its runtimes", done.stdout) or [""]
    if lines[0].startswith("without "):
        raise RuntimeMissing(
            f"{transport.address} has no {lines[0].split()[1]}, which unpacking a runtime needs",
            hint="install busybox or toybox there, or Python 3 and the runtime",
        )
    if lines[0] == "noexec":
        raise RuntimeMissing(
            f"{transport.address}: nothing in {runtimes} may be executed: its file system is "
            "mounted 'noexec', or a policy forbids it",
            hint="set EDGEWRIGHT_DEVICE_DIR to a directory from which programs can be started "
            "(on a phone /data/local/tmp is one)",
        )
    if lines[0] != "ready" or len(lines) < 2:
        raise garbage(transport.address, "its runtimes", done.stdout)
    words = lines[2].split() if len(lines) > 2 else []
    free = int(words[3]) * 1024 if len(words) > 3 and words[3].isdigit() else None
    return lines[1], free


def _failed(transport: Transport, path: str, done: Completed) -> DeviceError:
    said = done.stderr.strip() or f"exit code {done.code}"
    return file_error(transport.address, "write", path, said)


def _mb(size: int) -> int:
    return round(size / 1e6)
