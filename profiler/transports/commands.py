"""Command lines: what can be one, and how it crosses a POSIX shell unchanged."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ...errors import DeviceTimeout, UsageError

MAX_COMMAND_BYTES = 100_000
"""Below what Linux takes for one argument of a program (128 KiB) and SSH for one packet."""

SIGNAL_BASE = 128

# Runs "$@" in a session of its own, without input, and ends with its exit code. Standard input
# stays open as long as somebody wants the answer; when it ends, because the command took too
# long or the connection was lost, the command is killed with its children. Without the program
# setsid only the command itself is.
SUPERVISED = """\
exec 3<&0
if command -v setsid >/dev/null 2>&1
then setsid "$@" </dev/null 3<&- & child=$!; group=-$child
else "$@" </dev/null 3<&- & child=$!; group=$child
fi
exec 2>/dev/null
(read -r _ <&3; kill -9 "$group" "$child") >/dev/null & watcher=$!
exec 3<&-
wait "$child"; code=$?
kill -9 "$watcher"
exit "$code"
"""

# $1: seconds, $2: mark; then the command. As SUPERVISED, and it says itself, on the last line of
# stderr, that the command has ended and how: a child that it left in the background may hold the
# outputs open. When the seconds are over, the device itself kills the command (where its shell can
# wait for so long only): it may never learn that the connection is lost. Where it does, adbd hangs
# up on this script, which has work left.
SUPERVISED_FOR = """\
trap '' HUP
limit=$1 mark=$2; shift 2
exec 3<&0 4>&2
(trap - HUP; exec setsid "$@") </dev/null 3<&- 4>&- & child=$!
exec 2>/dev/null
if (echo | read -r -t 9 _); then await="read -r -t $limit _"; else await="read -r _"; fi
($await <&3; kill -9 "-$child" "$child") >/dev/null 4>&- & watcher=$!
exec 3<&-
wait "$child"; code=$?
kill -9 "$watcher"
printf '\\n%s%s\\n' "$mark" "$code" >&4
exit "$code"
"""

# Says how large a file is; some programs `wc` look at every byte of it.
_SIZE_OF = """\
size_of() { stat -L -c %s "$1" 2>/dev/null || wc -c < "$1"; }
"""

# $1: target, $2: its mode, $3: size, $4: unfinished name beside it. When the connection is lost,
# standard input ends early, the size differs, and the device itself removes the unfinished copy:
# an adbd that hangs up must not keep it from that. Not every disk knows modes.
RECEIVE = f"""\
{_SIZE_OF}LC_ALL=C; export LC_ALL; umask 077; trap '' HUP
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
if cat > "$4" && [ $(size_of "$4") -eq "$3" ]
then chmod "$2" "$4" 2>/dev/null; mv -f "$4" "$1" && exit 0
fi
rm -f "$4"
exit 1
"""

_BLOCK_BYTES = 65536

# $1: target, $2: its mode, $3: size. Prints how many bytes are there, then takes those after them.
# dd writes at a place rather than at the end: a copy of before, of which the device has not noticed
# yet that it lost its host, can only write the same bytes to the same places. Places are counted in
# whole blocks: no dd counts in bytes everywhere.
RECEIVE_REST = f"""\
{_SIZE_OF}LC_ALL=C; export LC_ALL; umask 077; trap '' HUP; block={_BLOCK_BYTES}
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
if [ -e "$1" ] && [ ! -f "$1" ]; then echo "not a regular file" >&2; exit 1; fi
: >> "$1" && there=$(size_of "$1") || exit 1
if [ "$there" -gt "$3" ]; then : > "$1" || exit 1; there=0; fi
if [ "$there" -eq "$3" ]; then chmod "$2" "$1" 2>/dev/null; echo "$3"; exit 0; fi
echo $((there / block * block))
said=$(dd of="$1" ibs="$block" obs="$block" seek=$((there / block)) conv=notrunc 2>&1)
code=$?
chmod "$2" "$1" 2>/dev/null
[ "$code" -eq 0 ] && exit 0
echo "$said" | grep dd: >&2
exit 1
"""

# $1: source. Prints the size on a line of its own, then the bytes.
SEND = f"""\
{_SIZE_OF}LC_ALL=C; export LC_ALL
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
if [ -e "$1" ] && [ ! -f "$1" ]; then echo "not a regular file" >&2; exit 1; fi
exec < "$1" || exit 1
size_of "$1" && exec cat
"""


def checked_command(command: Sequence[str]) -> list[str]:
    """The command as a list of arguments.

    Raises:
        UsageError: it is empty, too long, or no program can be given such an argument.
    """
    arguments = list(command)
    if isinstance(command, str) or not arguments or not arguments[0]:
        raise UsageError(f"{command!r} is not a command: an argument list is expected")
    for argument in arguments:
        checked_text(argument)
    return arguments


def checked_text(argument: str) -> None:
    """Raises UsageError where no program can be given this text."""
    if "\0" in argument:
        raise UsageError(f"{argument!r:.200} contains a NUL character: no program can be given it")
    try:
        argument.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"{argument!r:.200} is not text: no program can be given it") from error


def shell_line(script: str, arguments: Sequence[str], max_bytes: int = MAX_COMMAND_BYTES) -> bytes:
    """The line that makes a device's shell run `script` with exactly these arguments.

    Raises:
        UsageError: it would be too long.
    """
    line = shlex.join(["sh", "-c", script, "edgewright", *arguments])
    encoded = line.encode("utf-8", "surrogateescape")
    if len(encoded) > max_bytes:
        raise UsageError(
            f"a command of {len(encoded)} bytes is too long for a device (at most {max_bytes})",
            hint="push a file and name it instead",
        )
    return encoded


def signal_as_code(returncode: int) -> int:
    """Python's code of an ended process, as a shell gives it: 128 + N where signal N ended it."""
    return SIGNAL_BASE - returncode if returncode < 0 else returncode


def last_words(output: str, limit: int = 200) -> str:
    """The last line of a command's output that says something; empty where there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][-limit:] if lines else ""


def too_slow(
    address: str, name: str, timeout_s: float, was_killed: bool, outputs: Sequence[str]
) -> DeviceTimeout:
    """The error of a command that took too long.

    Args:
        name: of its program.
        was_killed: whether the device says so.
        outputs: of the command; the last words of the first that has any are told.
    """
    fate = "it was killed" if was_killed else "it may still be running there"
    said = next(filter(None, map(last_words, outputs)), "")
    return DeviceTimeout(
        f"{address}: {name} did not end in {timeout_s:g} s; {fate}"
        + (f"; its last words were {said!r}" if said else "")
    )
