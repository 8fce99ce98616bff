"""From a device's name, or the path of a TOML file, to its profile."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..errors import UsageError
from ..files import user_path
from .folders import own_folder, profile_files
from .probe import probe_host
from .profile import Limits, Model, TargetProfile
from .support_files import support_ids
from .toml_file import TomlDocument, parse_toml, validate_toml


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
    """The profile of a device by name or alias, or of a TOML file by its path.

    Names are looked up among the built-in devices and in the user's own folder
    (`targets/folders.py`).

    Raises:
        UsageError: no such device or file, two of that name, or the file is wrong (it says which
            line and key).
    """
    if _is_path(name_or_path):
        return profile_of(parse_toml(user_path(name_or_path)))
    wanted = name_or_path.strip().lower()
    documents, broken = _documents()
    if wanted in broken:
        raise broken[wanted]
    found = [document for document in documents if wanted in _names(document)]
    if not found:
        raise _unknown(name_or_path, documents)
    if len(found) > 1:
        raise _twice(wanted, found)
    return profile_of(found[0])


def list_targets(broken: Callable[[UsageError], None] | None = None) -> list[TargetProfile]:
    """All profiles, by name, the user's own among them; the one for this machine is probed now.

    Args:
        broken: is told of each profile that can't be had, which is left out; None: it is an error.

    Raises:
        UsageError: a file in the user's folder is wrong, or has another's name.
    """
    documents, unread = _documents()
    errors = list(unread.values())
    owners: dict[str, TomlDocument] = {}
    found: list[TargetProfile] = []
    for document in documents:
        names = _names(document)
        try:
            for name in names:
                if name in owners:
                    raise _twice(name, [owners[name], document])
            found.append(profile_of(document))
        except UsageError as error:
            errors.append(error)
        else:
            owners.update(dict.fromkeys(names, document))
    for wrong in errors:
        if broken is None:
            raise wrong
        broken(wrong)
    return sorted(found, key=lambda profile: profile.name)


def own_names() -> frozenset[str]:
    """The names of the user's own profiles."""
    return frozenset(path.stem for path in own_folder().glob("*.toml"))


def target_file(name_or_path: str) -> Path:
    """The file that `load_target` reads.

    Raises:
        UsageError: as `load_target`.
    """
    if _is_path(name_or_path):
        return user_path(name_or_path)
    profile = load_target(name_or_path)
    return next(path for path in profile_files() if path.stem == profile.name)


def refuse_taken_names(profile: TargetProfile, path: Path) -> None:
    """That a profile can be kept at a path: in the user's folder, names lead to one file each.

    Raises:
        UsageError: the file has another name, or a name of the profile is that of another one.
    """
    if path.parent.resolve() != own_folder().resolve():
        return
    if path.stem != profile.name:
        raise UsageError(
            f"{path}: in the folder of your own profiles a file is called as its profile, "
            f"{profile.name}.toml"
        )
    for document in _documents()[0]:
        if document.path.resolve() == path.resolve():
            continue
        if taken := {profile.name, *profile.aliases}.intersection(_names(document)):
            raise UsageError(
                f"'{sorted(taken)[0]}' is the name of another profile: {document.path}",
                hint="choose a name of its own",
            )


def _is_path(name_or_path: str) -> bool:
    return name_or_path.endswith(".toml") or "/" in name_or_path or "\\" in name_or_path


def _documents() -> tuple[list[TomlDocument], dict[str, UsageError]]:
    """The files that can be read as TOML, and for each other one, by its name, what is wrong."""
    documents, broken = [], {}
    for path in profile_files():
        try:
            document = parse_toml(path)
            if document.data.get("name") != path.stem:
                raise UsageError(
                    f"{document.where(('name',))}: the profile's name has to be that of its file, "
                    f"'{path.stem}'",
                    hint="rename the file, or change its name",
                )
        except UsageError as error:
            broken[path.stem] = error
        else:
            documents.append(document)
    return documents, broken


def _names(document: TomlDocument) -> list[str]:
    aliases = document.data.get("aliases", [])
    names = [document.data["name"], *(aliases if isinstance(aliases, list) else [])]
    return [name for name in names if isinstance(name, str)]


def profile_of(document: TomlDocument) -> TargetProfile:
    """The profile in a parsed file.

    Raises:
        UsageError: a key is unknown, missing, of the wrong type, contradicts another, or names a
            support table that there is not.
    """
    if document.data.get("probed") is not True:
        profile = validate_toml(document, TargetProfile)
        _check_support(document, profile)
        return profile
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


def _check_support(document: TomlDocument, profile: TargetProfile) -> None:
    known = support_ids()
    for position, accelerator in enumerate(profile.accelerators):
        for name in accelerator.support:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise UsageError(
                    f"{document.where(('accelerators', position, 'support'))}: "
                    f"'accelerators[{position}].support': no support table is called '{name}'",
                    hint=f"did you mean '{near[0]}'?"
                    if near
                    else f"there are {', '.join(known)}; leave it out where nobody says what the "
                    "accelerator can run",
                )


def _twice(name: str, documents: list[TomlDocument]) -> UsageError:
    files = " and ".join(str(document.path) for document in documents)
    return UsageError(
        f"two profiles are called '{name}': {files}", hint="rename your own, or change its aliases"
    )


def _unknown(name: str, documents: list[TomlDocument]) -> UsageError:
    titles = {alias: str(d.data["name"]) for d in documents for alias in _names(d)}
    near = difflib.get_close_matches(name.lower(), titles, n=3, cutoff=0.5)
    # An alias stands for its device: pixel-9 and pixel9 are one suggestion.
    meant = list(dict.fromkeys(titles[alias] for alias in near))
    hint = f"did you mean {' or '.join(meant)}? " if meant else ""
    return UsageError(
        f"no target is called '{name}'; there are {', '.join(sorted(set(titles.values())))}",
        hint=f"{hint}A device of your own is a .toml file, given by its path or kept in "
        f"{own_folder()} (`edgewright targets new` makes one)",
    )
