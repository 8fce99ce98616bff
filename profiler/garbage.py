"""Answers of a device that make no sense: one clear error, wherever they are found."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from ..errors import AgentFailed

#: Scripts print this first: what comes before it is not theirs.
MARK = "edgewright"
HINT = (
    "if one of its shell's start-up files prints something (~/.bashrc, say), let it do so on a "
    "terminal only; if its python3 is not Python itself, let it be"
)

_SENSELESS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    zipfile.BadZipFile,
)


def garbage(address: str, what: str, said: str) -> AgentFailed:
    """The error.

    Args:
        what: was asked for.
        said: what came instead, or what is wrong with it.
    """
    shown = said if len(said) <= 160 else f"{said[:160]}..."
    return AgentFailed(f"{address}: its answer makes no sense ({what}): {shown!r}", hint=HINT)


def lines_after_mark(address: str, what: str, stdout: str) -> list[str]:
    """The lines of a script's answer.

    Raises:
        AgentFailed: something else has printed as well.
    """
    first, _, rest = stdout.partition("\n")
    if first != MARK:
        raise garbage(address, what, stdout)
    return rest.splitlines()


def read_answer(text: str) -> Any:
    """A JSON document of a device, without what would move about on a person's terminal.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return _harmless(json.loads(text))


def _harmless(value: Any) -> Any:
    match value:
        case str():
            return "".join(c for c in value if c.isprintable() or c in "\n\t")
        case list():
            return [_harmless(item) for item in value]
        case dict():
            return {_harmless(name): _harmless(item) for name, item in value.items()}
    return value


@contextlib.contextmanager
def understood(address: str, what: str) -> Iterator[None]:
    """Reads an answer; where that fails for what is in it, the device is to blame.

    Raises:
        AgentFailed: it has not the parts, or not of the types, that it ought to have.
    """
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise garbage(address, what, f"{place}: {first['msg']}") from error
    except _SENSELESS as error:
        raise garbage(address, what, f"{type(error).__name__}: {error}") from error
