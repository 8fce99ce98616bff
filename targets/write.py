"""Writes profiles as TOML: whole ones from what was probed, and copies with another name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import written_whole
from .folders import own_folder
from .load import load_target, profile_of, target_file
from .profile import TargetProfile
from .toml_file import parse_toml_text

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def profile_text(profile: TargetProfile) -> str:
    """A profile as the TOML that it is read from; groups and lists as the built-in files have them.

    Facts that are absent are left out. A profile of the machine at hand is written down as what it
    is now, no longer as probed.
    """
    import tomlkit

    values = profile.model_dump(mode="json", exclude_none=True)
    values.pop("probed")
    document = tomlkit.document()
    for key in ("schema_version", "name", "title", "aliases", "default_accelerator", "notes"):
        if values.get(key):
            document.add(key, tomlkit.item(values[key]))
    cpu = values["cpu"]
    clusters = cpu.pop("clusters")
    rows = tomlkit.array()
    for cluster in clusters:
        row = tomlkit.inline_table()
        row.update({key: value for key, value in cluster.items() if value != []})
        rows.append(row)
    table = _table(cpu)
    table.add("clusters", rows.multiline(True))
    document.add("cpu", table)
    for key in ("memory", "os"):
        document.add(key, _table(values[key]))
    for key in ("runtimes", "accelerators"):
        if values[key]:
            document.add(key, _tables(values[key]))
    if "limits" in values:
        document.add("limits", _table(values["limits"]))
    return tomlkit.dumps(document)


def copy_text(name: str, original: str) -> str:
    """The file of a known device under another name; comments and sources stay.

    Raises:
        UsageError: the name is not one, or there is no such device.
    """
    import tomlkit

    check_name(name)
    profile = load_target(original)
    if profile.probed:
        return profile_text(profile.model_copy(update={"name": name, "aliases": ()}))
    document = tomlkit.parse(target_file(original).read_text(encoding="utf-8"))
    document["name"] = name
    document["title"] = f"{profile.title}, changed"
    document.pop("aliases", None)
    return tomlkit.dumps(document)


def check_name(name: str) -> None:
    """That a name can be that of a profile.

    Raises:
        UsageError: it can't.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' can't be a profile's name",
            hint="use small letters, digits and '-', beginning with a letter or a digit",
        )


def own_file(name: str) -> Path:
    """Where the user's profile of a name lies, if it is there."""
    return own_folder() / f"{name}.toml"


def write_profile(text: str, path: Path, *, replace: bool) -> None:
    """Writes a profile's text once it is known to be one.

    Raises:
        UsageError: it is none, the file is there already, or can't be written.
    """
    profile_of(parse_toml_text(path, text))
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already", hint="give --replace to write over it")
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _table(values: Mapping[str, Any]) -> Any:
    import tomlkit

    table = tomlkit.table()
    for key, value in values.items():
        if value not in ([], {}):
            table.add(key, value)
    return table


def _tables(rows: list[dict[str, Any]]) -> Any:
    import tomlkit

    tables = tomlkit.aot()
    for row in rows:
        tables.append(_table(row))
    return tables
