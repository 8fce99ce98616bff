from __future__ import annotations

from typing import get_args

from golden.make_codes_page import PAGE, codes_page

from edgewright.targets.codes import CODES, Code


def test_every_code_has_a_meaning() -> None:
    assert set(CODES) == set(get_args(Code))
    for meaning in CODES.values():
        assert meaning.title and meaning.meaning.endswith(".") and meaning.remedy.endswith(".")


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == codes_page()
