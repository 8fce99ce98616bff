from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.toml_lines import KeyPath, key_lines, line_of

#: Values that try to look like something else, several of more than one line.
VALUES = (
    "1",
    "1979-05-27T07:32:00Z",
    '"text"',
    '"[not.a.table]"',
    '"# no comment \\" either"',
    "'C:\\path'",
    '"""\n[fake]\nfake = 1\n"""',
    '"""one \\"""\nstill"""',
    '"""quotes at the end"""""',
    "'''\nfake = 2 # '\n'''",
    "[1, 2]",
    "[\n  1, # ] = [\n  2,\n]",
    '[ ["a"], [\n "]" ] ]',
    '{ inner = 1, other = "}" }',
    "[ { inner = 1 },\n  { inner = 2 } ]",
    "true # trailing [comment]",
)
COMMENTS = ("", "\n", "# [comment]\n", "  # fake = 1\n\n")
QUOTES = ("{}", '"{}"', "'{}'", '"{} x"', "'a.{}'")

entries = st.tuples(
    st.sampled_from(COMMENTS),
    st.integers(1, 3),
    st.sampled_from(QUOTES),
    st.sampled_from(VALUES),
    st.sampled_from(("=", " = ", "\t=  ")),
)
sections = st.tuples(
    st.sampled_from(("table", "array", "nested", "under")),
    st.sampled_from(COMMENTS),
    st.sampled_from(QUOTES),
    st.lists(entries, max_size=4),
)


def written(document: list[Any], newline: str) -> tuple[str, dict[KeyPath, int]]:
    """TOML text, and the line of every key in it as known while it was written."""
    text = ""
    expected: dict[KeyPath, int] = {}
    count = 0
    latest: KeyPath = ()

    def note(path: KeyPath) -> None:
        for length in range(1, len(path) + 1):
            expected.setdefault(path[:length], text.count("\n") + 1)

    for number, (kind, comment, quote, lines) in enumerate(document):
        text += comment
        name = quote.format(f"t{number}")
        plain = name.strip("\"'")
        if kind == "array":
            path: KeyPath = ("many", count)
            count += 1
            note(path)
            text += "[[ many ]] # array\n"
            latest = path
        elif kind == "under" and latest:
            path = (*latest, plain)
            note(path)
            text += f"  [many.{name}]\n"
        elif kind == "nested":
            path = ("outer", plain)
            note(path)
            text += f"[ outer . {name} ]\n"
        else:
            path = (plain,)
            note(path)
            text += f"[{name}]\n"
        for position, (before, depth, key_quote, value, equals) in enumerate(lines):
            text += before
            names = [key_quote.format(f"k{position}"), *(f"d{level}" for level in range(1, depth))]
            note((*path, names[0].strip("\"'"), *names[1:]))
            text += f"{' . '.join(names)}{equals}{value}\n"
    return text.replace("\n", newline), expected


@given(st.lists(sections, max_size=6), st.sampled_from(("\n", "\r\n")))
def test_every_key_has_the_line_it_was_written_on(document: list[Any], newline: str) -> None:
    text, expected = written(document, newline)
    assert key_lines(text) == expected
    data = tomllib.loads(text)
    for path in every_path(data):
        assert line_of(text, path) is not None


def every_path(data: Any, path: KeyPath = ()) -> list[KeyPath]:
    items: list[tuple[int | str, Any]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data))
    return [p for key, value in items for p in ((*path, key), *every_path(value, (*path, key)))]


def test_inside_of_values_the_line_is_that_of_the_key() -> None:
    text = 'a = 1\n[[b]]\nc = [\n  { d = 1 },\n]\n[[b]]\nc = 2\n[x."y.z"]\nw.v = 3'
    assert line_of(text, ("b", 0, "c", 0, "d")) == 3
    assert line_of(text, ("b", 1, "c")) == 7
    assert line_of(text, ("b", 1, "missing")) == 6
    assert line_of(text, ("x", "y.z", "w", "v")) == 9
    assert line_of(text, ()) is None
    assert line_of(text, ("missing",)) is None


def test_an_array_of_tables_below_an_array_of_tables() -> None:
    text = "[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\nc = 2\n[[a]]\n[[a.b]]\nc = 3\n"
    assert line_of(text, ("a", 0, "b", 1, "c")) == 5
    assert line_of(text, ("a", 1, "b", 0, "c")) == 8
