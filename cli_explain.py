"""The command that says what a finding's code means."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .cli_common import Json, show
from .errors import UsageError


def _complete_code(incomplete: str) -> list[str]:
    from .targets.codes import CODES

    return [code for code in CODES if code.startswith(incomplete)]


def explain(
    code: Annotated[
        str | None, typer.Argument(help="As `check` tells it.", autocompletion=_complete_code)
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a finding's code means and what helps; without a code, list them all."""
    import difflib
    from dataclasses import asdict

    from .targets.codes import CODES

    if code is None:
        document: dict[str, Any] = {known: asdict(meaning) for known, meaning in CODES.items()}
        width = max(map(len, CODES))
        lines = [f"{known:{width}}  {meaning.title}" for known, meaning in CODES.items()]
        show({"schema_version": 1, "codes": document}, lambda: "\n".join(lines), as_json)
        return
    meaning = {str(known): meaning for known, meaning in CODES.items()}.get(code)
    if meaning is None:
        near = difflib.get_close_matches(code, [str(known) for known in CODES], n=3, cutoff=0.5)
        raise UsageError(
            f"no finding has the code '{code}'",
            hint=f"did you mean {' or '.join(near)}?"
            if near
            else "`edgewright explain` lists them",
        )
    told = f"{code}: {meaning.title}\n\n{meaning.meaning}\n\nWhat helps: {meaning.remedy}"
    show({"schema_version": 1, "code": code, **asdict(meaning)}, lambda: told, as_json)
