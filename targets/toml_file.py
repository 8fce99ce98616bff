"""Reads a TOML file into a model; whatever is wrong names the file, the key and the line."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import UsageError
from .toml_lines import KeyPath, line_of

M = TypeVar("M", bound=BaseModel)

#: How many problems of one file are told at once.
MAX_PROBLEMS = 8


@dataclass(frozen=True)
class TomlDocument:
    """A parsed TOML file with the text that it was parsed from."""

    path: Path
    text: str
    data: dict[str, Any]

    def where(self, key: KeyPath) -> str:
        """'file, line 3', or the file alone where the key has no line of its own."""
        line = line_of(self.text, key)
        return str(self.path) if line is None else f"{self.path}, line {line}"


def read_toml(path: Path, model: type[M]) -> M:
    """Reads and validates a TOML file.

    Types are strict: a number in quotes is not a number.

    Raises:
        UsageError: the file can't be read or is not TOML; a key is unknown, missing, of the wrong
            type or refused by a validator. The message names file, line and dotted key.
    """
    return validate_toml(parse_toml(path), model)


def parse_toml(path: Path) -> TomlDocument:
    """Reads a TOML file without judging its keys.

    Raises:
        UsageError: the file can't be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a TOML file: it is not UTF-8 text") from error
    return parse_toml_text(path, text)


def parse_toml_text(path: Path, text: str) -> TomlDocument:
    """Parses TOML text; `path` is what error messages call it.

    Raises:
        UsageError: the text is not TOML.
    """
    try:
        return TomlDocument(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply to be read") from error


def validate_toml(document: TomlDocument, model: type[M]) -> M:
    """Turns a parsed TOML file into a model.

    Raises:
        UsageError: as `read_toml`.
    """
    try:
        # Through JSON: strict there means strict types, but arrays still become tuples.
        return model.model_validate_json(json.dumps(document.data, default=str), strict=True)
    except ValidationError as error:
        details = error.errors()
        problems = [
            _problem(document, model, detail)
            for detail in details
            # A list whose items are wrong is called too short as well.
            if detail["type"] != "too_short"
            or not any(_is_inside(other["loc"], detail["loc"]) for other in details)
        ]
        hints = [hint for _, hint in problems if hint]
        lines = [line for line, _ in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            lines.append(f"... and {len(problems) - MAX_PROBLEMS} more")
        raise UsageError("\n".join(lines), hint=hints[0] if hints else None) from error


def _is_inside(loc: tuple[int | str, ...], around: tuple[int | str, ...]) -> bool:
    return len(loc) > len(around) and loc[: len(around)] == around


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> UsageError:
    reason = str(error)
    found = re.search(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$", reason)
    if found is None:
        return UsageError(f"{path} is not valid TOML: {reason}")
    line = found[1] or str(text.count("\n") + (not text.endswith("\n")))
    return UsageError(f"{path}, line {line}: not valid TOML: {reason[: found.start()]}")


def _problem(document: TomlDocument, model: type[BaseModel], detail: Any) -> tuple[str, str | None]:
    """One line that says what is wrong, and what to do about it where that is known."""
    key = _key_in_document(detail["loc"], document.data)
    name = dotted(key)
    if detail["type"] == "extra_forbidden":
        valid = _keys_of(model, key[:-1])
        near = difflib.get_close_matches(str(key[-1]), valid, n=1)
        known = f"did you mean '{near[0]}'?" if near else f"the keys here are {', '.join(valid)}"
        return f"{document.where(key)}: unknown key '{name}'", known if valid else None
    if detail["type"] == "missing":
        return f"{document.where(key[:-1])}: the key '{name}' is missing", None
    reason = str(detail["msg"]).removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    subject = f"'{name}': " if name else ""
    got = detail["input"]
    said = f", not {json.dumps(got, default=str)}" if isinstance(got, str | int | float) else ""
    return f"{document.where(key)}: {subject}{reason}{said}", None


def dotted(key: KeyPath) -> str:
    """('runtimes', 1, 'name') -> 'runtimes[1].name'."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _key_in_document(loc: tuple[int | str, ...], data: Any) -> KeyPath:
    """The error's place in the document: pydantic also names the alternative of a union."""
    key: list[int | str] = []
    for position, part in enumerate(loc):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if position < len(loc) - 1 or not isinstance(data, dict):
                continue
        key.append(part)
    return tuple(key)


def _keys_of(model: type[BaseModel], key: KeyPath) -> list[str]:
    """The valid keys of the table at `key`."""
    models = {model}
    for part in key:
        if isinstance(part, str):
            fields = [m.model_fields[part] for m in models if part in m.model_fields]
            models = {inner for field in fields for inner in _models_in(field.annotation)}
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    """The models inside an annotation such as `tuple[Runtime, ...] | None`."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return {annotation}
    return {inner for part in typing.get_args(annotation) for inner in _models_in(part)}
