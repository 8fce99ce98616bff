"""Files named by their content: what is there, what is on its way, and what has arrived."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Dict, Optional, Sequence

from .common import PROC, Json, Refusal, read_text
from .files import sha256, write_whole

#: Smaller files are hashed each time.
NOTED_BYTES = 1 << 20
#: An unfinished copy that nobody has touched for so long is not going to be finished.
ABANDONED_S = 24 * 3600


def look(words: Sequence[str]) -> Json:
    """What a device has of some files; deletes what was left unfinished long ago beside them.

    Args:
        words: for each file its path, and the one it travels under.

    Returns:
        For each path the file's SHA-256, null where there is none, and how many bytes have arrived
        under the other path.
    """
    answer = {}  # type: Json
    for final, part in zip(words[::2], words[1::2]):  # noqa: B905
        _sweep(os.path.dirname(final))
        arrived = os.path.getsize(part) if os.path.isfile(part) else 0
        answer[final] = {"sha256": noted_sha256(final), "arrived_bytes": arrived}
    return answer


def adopt(words: Sequence[str]) -> Json:
    """Gives pushed files their names, those that are whole. Doing it twice is fine.

    Args:
        words: for each file its SHA-256, the path it was pushed to, and the one it is to have.

    Raises:
        Refusal: one is not whole; it is deleted.
    """
    broken = []
    for expected, part, final in zip(words[::3], words[1::3], words[2::3]):  # noqa: B905
        actual = sha256(part)
        if actual is None:
            actual = noted_sha256(final)
        elif actual == expected:
            os.replace(part, final)
            _note(final, actual)
        else:
            os.unlink(part)
        if actual != expected:
            broken.append("%s arrived as sha256 %s" % (final, actual or "nothing"))
    if broken:
        raise Refusal("integrity", "; ".join(broken))
    return {"adopted": len(words) // 3}


# A hundred megabytes take a small board one to three seconds to hash, each time that a model is
# measured there. So the hash of a large file is noted with what the system says of the file, and
# holds while all of that stays as it is: whoever writes, truncates or replaces a file gives it
# another time of change (st_ctime), which no program can set. What could change without a trace is
# what was not on the disk yet when the power failed: the note holds for the system's present run
# alone (boot_id). Where there is no boot_id nothing is noted.


def noted_sha256(path: str) -> Optional[str]:
    """The SHA-256 of a file, from the notes where it has not changed; None where there is none."""
    state = _state(path)
    noted = _notes(path).get(os.path.basename(path))
    if state is not None and isinstance(noted, dict) and noted.get("state") == state:
        return str(noted["sha256"])
    found = sha256(path)
    if found is not None and _state(path) == state:
        _note(path, found)
    return found


def _note(path: str, digest: str) -> None:
    """Writes a hash down; it is only a shortcut, so that a full disk is no error."""
    state = _state(path)
    if state is None:
        return
    directory = os.path.dirname(path)
    kept = {n: v for n, v in _notes(path).items() if os.path.exists(os.path.join(directory, n))}
    kept[os.path.basename(path)] = {"state": state, "sha256": digest}
    with contextlib.suppress(OSError):
        write_whole(_notes_path(path), json.dumps(kept), lasting=False)


def _notes(path: str) -> Dict[str, Json]:
    try:
        with open(_notes_path(path), encoding="utf-8") as handle:
            notes = json.load(handle)
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _notes_path(path: str) -> str:
    """Beside the directory of the files, for which it is named."""
    return os.path.dirname(os.path.abspath(path)) + ".json"


def _state(path: str) -> Optional[Json]:
    """What changes whenever the file does; None for a file that is not worth a note."""
    try:
        seen = os.stat(path)
        boot = read_text(PROC + "/sys/kernel/random/boot_id")
    except OSError:
        return None
    if seen.st_size < NOTED_BYTES:
        return None
    return {
        "boot": boot,
        "inode": [seen.st_dev, seen.st_ino],
        "size": seen.st_size,
        "times_ns": [seen.st_mtime_ns, seen.st_ctime_ns],
    }


def _sweep(directory: str) -> None:
    """Deletes unfinished copies that nobody has touched for a day, by a clock that may jump."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".part"):
                with contextlib.suppress(OSError):
                    if abs(time.time() - entry.stat().st_mtime) > ABANDONED_S:
                        os.unlink(entry.path)
