"""Text on a person's terminal, which obeys what names in a file may hold: escape sequences."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


def harmless(text: str) -> str:
    """The text without control characters (ECMA-48), which take no room on the screen."""
    return text if text.isprintable() else "".join(filter(_is_shown, text))


def _is_shown(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs")


class HarmlessConsole(Console):
    """A console that prints nothing but what it styles itself."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else harmless(text), style, control)
