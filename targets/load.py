"""From a device's name, or the path of a TOML file, to its profile."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..errors import UsageError
from ..files import user_path
from .probe import probe_host
from .profile import Limits, Model, TargetProfile
from .toml_file import TomlDocument, parse_toml, parse_toml_text, validate_toml

_DATA = "edgewright.device_configs"


class ProbedProfile(Model):
    """A device file with `probed = true`: names and limits; the machine at hand says the rest."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    probed: Literal[True]
    limits: Limits | None = None
    notes: tuple[str, ...] = ()


def load_target(name_or_path: str) -> TargetProfile:
    """The profile of a built-in device (by name or alias), or of a TOML file (by its path).

    Raises:
        UsageError: no such device or file, or the file is wrong (it says which line and key).
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path or "\\" in name_or_path:
        return _profile(parse_toml(user_path(name_or_path)))
    documents = _built_in()
    wanted = name_or_path.strip().lower()
    for document in documents:
        if wanted in _names(document):
            return _profile(document)
    raise _unknown(name_or_path, documents)


def list_targets() -> list[TargetProfile]:
    """All built-in profiles, by name; the one for this machine is probed now."""
    return sorted((_profile(document) for document in _built_in()), key=lambda p: p.name)


def _built_in() -> list[TomlDocument]:
    files = [file for file in resources.files(_DATA).iterdir() if file.name.endswith(".toml")]
    return [
        parse_toml_text(Path(str(file)), file.read_text(encoding="utf-8"))
        for file in sorted(files, key=lambda file: file.name)
    ]


def _names(document: TomlDocument) -> list[str]:
    aliases = document.data.get("aliases", [])
    return [document.data.get("name", ""), *aliases]


def _profile(document: TomlDocument) -> TargetProfile:
    if document.data.get("probed") is not True:
        return validate_toml(document, TargetProfile)
    named = validate_toml(document, ProbedProfile)
    host = probe_host()
    return host.model_copy(
        update={
            "name": named.name,
            "title": named.title,
            "aliases": named.aliases,
            "limits": named.limits,
            "notes": (*named.notes, *host.notes),
        }
    )


def _unknown(name: str, documents: list[TomlDocument]) -> UsageError:
    names = [str(document.data["name"]) for document in documents]
    everything = [alias for document in documents for alias in _names(document)]
    near = difflib.get_close_matches(name.lower(), everything, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"no target is called '{name}'; there are {', '.join(names)}",
        hint=f"{hint}A device of your own is a .toml file, given by its path",
    )
