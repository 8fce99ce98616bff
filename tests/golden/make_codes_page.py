"""The page docs/codes.md, which is made of `CODES`: `python tests/golden/make_codes_page.py`."""

from __future__ import annotations

from pathlib import Path

from edgewright.targets.codes import CODES

PAGE = Path(__file__).parents[2] / "docs" / "codes.md"

_HEAD = """# Codes of findings

What `edgewright check` can find. `edgewright explain CODE` prints the same; this page is made of
the same table by `python tests/golden/make_codes_page.py`. How findings come about is in
[checking.md](checking.md).
"""


def codes_page() -> str:
    """The page as Markdown."""
    parts = [
        f"## {code}\n\n**{meaning.title}.** {meaning.meaning}\n\nWhat helps: {meaning.remedy}\n"
        for code, meaning in CODES.items()
    ]
    return "\n".join([_HEAD, *parts])


if __name__ == "__main__":
    PAGE.write_text(codes_page(), encoding="utf-8")
