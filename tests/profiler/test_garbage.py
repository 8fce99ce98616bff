"""Answers of devices, and what they may do to a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.profiler.garbage import read_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_what_would_move_about_on_a_terminal_is_taken_out() -> None:
    said = {"model": "Pi\x1b[2J\x07", "lines": ["a\tb\nc", "\u202eabc"], "count": 1}
    assert read_answer(json.dumps(said)) == {
        "model": "Pi[2J", "lines": ["a\tb\nc", "abc"], "count": 1,
    }  # fmt: skip


@given(JSON)
def test_every_document_is_read_and_harmless(document: object) -> None:
    read = read_answer(json.dumps(document))
    assert json.dumps(read, ensure_ascii=False).isprintable()
    assert type(read) is type(document)


def test_what_is_no_document() -> None:
    with pytest.raises(ValueError):
        read_answer("{")
