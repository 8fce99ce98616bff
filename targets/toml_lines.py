"""Finds the line of a key in TOML text. tomllib gives values only, so the text is read again here.

The text is known to be valid TOML. Keys inside an inline table or an array have the line of the
key that holds them.
"""

from __future__ import annotations

import re
import tomllib

#: Keys of tables and indices of arrays, from the top: ('runtimes', 1, 'name').
KeyPath = tuple[str | int, ...]

_BARE_OR_QUOTED = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
#: The pieces of a value that can hide brackets, quotes or line ends.
_PIECE = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]''',
    re.DOTALL,
)


def line_of(text: str, key: KeyPath) -> int | None:
    """The line, from 1, of a key or of the nearest key above it that has one; None for the root."""
    lines = key_lines(text)
    for length in range(len(key), 0, -1):
        if (line := lines.get(key[:length])) is not None:
            return line
    return None


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which every key and table is first named."""
    text = text.replace("\r\n", "\n")
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position = 0
    while position < len(text):
        position = _after_blanks(text, position)
        if position >= len(text):
            break
        line = text.count("\n", 0, position) + 1
        character = text[position]
        if character in "#\n":
            position = _end_of_line(text, position)
            continue
        if character == "[":
            is_array = text.startswith("[[", position)
            names, position = _read_key(text, position + 1 + is_array)
            table = _enter(names, counts, is_array)
            position = _end_of_line(text, position)
            keys = table
        else:
            names, position = _read_key(text, position)
            keys = _resolve(table, names, counts)
            position = _end_of_value(text, position)
        for length in range(1, len(keys) + 1):
            lines.setdefault(keys[:length], line)
    return lines


def _read_key(text: str, position: int) -> tuple[list[str], int]:
    """A dotted key at `position`: its parts, and where it ends."""
    names: list[str] = []
    while True:
        position = _after_blanks(text, position)
        found = _BARE_OR_QUOTED.match(text, position)
        if found is None:
            return names, position
        names.append(_unquoted(found[0]))
        position = _after_blanks(text, found.end())
        if not text.startswith(".", position):
            return names, position
        position += 1


def _unquoted(name: str) -> str:
    if name[0] not in "\"'":
        return name
    return str(tomllib.loads(f"key = {name}")["key"])


def _enter(names: list[str], counts: dict[KeyPath, int], is_array: bool) -> KeyPath:
    """The path of a table header; the last array of tables on the way is the one meant."""
    path = (*_resolve((), names[:-1], counts), names[-1])
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        return (*path, counts[path] - 1)
    return path


def _resolve(table: KeyPath, names: list[str], counts: dict[KeyPath, int]) -> KeyPath:
    path = table
    for name in names:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _end_of_value(text: str, position: int) -> int:
    """Where the line after a value begins: brackets and long strings may span lines."""
    depth = 0
    for found in _PIECE.finditer(text, position):
        piece = found[0]
        if piece in "[{":
            depth += 1
        elif piece in "]}":
            depth -= 1
        elif piece == "\n" and depth <= 0:
            return found.end()
    return len(text)


def _after_blanks(text: str, position: int) -> int:
    while text.startswith((" ", "\t"), position):
        position += 1
    return position


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1
