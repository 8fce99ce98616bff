"""The user's devices: a name, an address and a profile for each, in one TOML file.

schema_version = 1

[devices.pi]
address = "ssh://pi@raspberrypi.local"
target = "raspberry-pi-5"
note = "the one with the fan"
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import Field, field_validator

from ..errors import UsageError
from ..files import user_path, write_text
from ..targets.load import load_target
from ..targets.profile import Model
from ..targets.toml_file import read_toml
from .devices_path import devices_path
from .transports import Transport, open_transport, without_password

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Device(Model):
    """One device of the file."""

    address: str = Field(min_length=1, description="local, ssh://[user@]host[:port], ...")
    target: str | None = Field(
        default=None,
        description="the profile that it is said to be like: a target's name, or a TOML file's "
        "path (from this file's folder)",
    )
    note: str | None = None


class DevicesFile(Model):
    """The whole file."""

    schema_version: Literal[1]
    devices: dict[str, Device] = Field(default_factory=dict)

    @field_validator("devices")
    @classmethod
    def _names_are_no_addresses(cls, value: dict[str, Device]) -> dict[str, Device]:
        for name in value:
            check_name(name)
        return value


class FoundDevice(Model):
    """A device that the user named, or gave the address of.

    Attributes:
        name: None where it was given by its address.
        target: a target's name or a TOML file's path; None where the file says none.
    """

    name: str | None = None
    address: str
    target: str | None = None
    note: str | None = None


def check_name(name: str) -> None:
    """Raises ValueError where a device can't be called so."""
    if name == "local" or not re.fullmatch(_NAME, name):
        raise ValueError(
            f"{name!r} can't be a device's name: letters, digits, '.', '_' and '-' are, and 'local'"
            " is this machine"
        )


def read_devices() -> dict[str, FoundDevice]:
    """The devices of the file by name, in its order; none where there is no file.

    Raises:
        UsageError: the file can't be read, or is wrong (it names file, line and key).
    """
    path = devices_path()
    if not path.exists():
        return {}
    return {
        name: FoundDevice(
            name=name,
            address=without_password(device.address),  # one with a password is refused later
            target=_beside(path, device.target),
            note=device.note,
        )
        for name, device in read_toml(path, DevicesFile).devices.items()
    }


def find_device(name_or_address: str) -> FoundDevice:
    """What the user means by a name or an address; an address is not looked at any further.

    Raises:
        UsageError: the name is much like one in the devices file, but is none; or the file is
            wrong.
    """
    if "://" in name_or_address or name_or_address == "local":
        return FoundDevice(address=name_or_address)
    known = read_devices()
    if name_or_address in known:
        return known[name_or_address]
    near = difflib.get_close_matches(name_or_address, known, n=3, cutoff=0.5)
    if near:
        raise UsageError(
            f"no device is called {without_password(name_or_address)!r}",
            hint=f"did you mean {' or '.join(near)}? `edgewright devices list` shows them all",
        )
    return FoundDevice(address=name_or_address)


def known_device(name: str) -> FoundDevice:
    """The device of the file with this very name.

    Raises:
        UsageError: there is none, or the file is wrong.
    """
    known = read_devices()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        others = f"there are {', '.join(known)}" if known else "there is none yet"
        raise UsageError(
            f"no device is called {without_password(name)!r} in {devices_path()}",
            hint=f"did you mean {' or '.join(near)}?" if near else others,
        )
    return known[name]


def open_device(name_or_address: str) -> Transport:
    """The way to a device that the user named or gave the address of.

    Raises:
        UsageError: as `find_device` and `open_transport`.
    """
    return open_transport(find_device(name_or_address).address)


def add_device(
    name: str,
    address: str,
    *,
    target: str | None = None,
    note: str | None = None,
    replace: bool = False,
) -> None:
    """Writes a device down; comments and whatever else is in the file stay.

    Raises:
        UsageError: the name is taken (unless `replace`) or can't be one, the address or the target
            is wrong, or the file can't be read or written.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    open_transport(address).close()
    if target is not None:
        load_target(target)
        if _is_path(target):
            target = str(user_path(target).resolve())
    known = read_devices()
    if name in known and not replace:
        raise UsageError(
            f"a device is called {name!r} already: {known[name].address}",
            hint="choose another name, or give --replace",
        )
    document = _document()
    devices = document.setdefault("devices", tomlkit.table(is_super_table=True))
    given = {"address": address, "target": target, "note": note}
    if name in devices:
        for key, value in given.items():
            if value is None:
                devices[name].pop(key, None)
            else:
                devices[name][key] = value
    else:
        table = tomlkit.table()
        table.update({key: value for key, value in given.items() if value is not None})
        devices[name] = table
    _write(document)


def remove_device(name: str) -> None:
    """Takes a device out of the file; nothing on the device is touched.

    Raises:
        UsageError: there is none of this name, or the file can't be read or written.
    """
    known_device(name)
    document: Any = _document()
    del document["devices"][name]
    _write(document)


def _write(document: tomlkit.TOMLDocument) -> None:
    # Where the file is a link, into a folder of dot files, say, it stays one.
    write_text(devices_path().resolve(), tomlkit.dumps(document))


def _document() -> tomlkit.TOMLDocument:
    path = devices_path()
    if path.exists():
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    document = tomlkit.document()
    document.add("schema_version", 1)
    return document


def _is_path(target: str) -> bool:
    return target.endswith(".toml") or "/" in target


def _beside(path: Path, target: str | None) -> str | None:
    if target is None or not _is_path(target):
        return target
    return str(path.parent / user_path(target))
