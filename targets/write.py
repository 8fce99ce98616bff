"""Writes profiles as TOML: whole ones from what was probed, and copies with another name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..files import written_whole
from .folders import BUILT_IN, own_folder
from .load import load_target, profile_of, refuse_taken_names, target_file
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
    for key in ("sensors", "limits"):
        if key in values:
            document.add(key, _table(values[key]))
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
        UsageError: it is none, another profile has its name, the file is there already, or can't
            be written.
    """
    refuse_taken_names(profile_of(parse_toml_text(path, text)), path)
    if path.exists() and not replace:
        raise UsageError(f"{path} is there already", hint="give --replace to write over it")
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def keep_profile(text: str, path: Path, *, replace: bool) -> Literal["written", "same", "differs"]:
    """Writes a profile, and leaves one that is there alone.

    Returns:
        'written'; 'same': it was there as it is; 'differs': another one is there, and stays.

    Raises:
        UsageError: the text is no profile, or can't be written.
    """
    if path.exists() and not replace:
        try:
            before = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "differs"
        return "same" if _undated(before) == _undated(text) else "differs"
    write_profile(text, path, replace=replace)
    return "written"


def name_from(words: str) -> str:
    """A profile's name from a device's: small letters, digits and '-'; 'my-' before known names."""
    plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "device"
    taken = {path.stem for path in BUILT_IN.glob("*.toml")}
    return f"my-{plain}" if plain in taken else plain


def _undated(text: str) -> str:
    return re.sub(r"probed on \d{4}-\d\d-\d\d", "probed", text)


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
