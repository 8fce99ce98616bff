"""The program that gives a person a shell on a device."""

from __future__ import annotations

import os
import shutil

from ..errors import UsageError
from .transports import open_transport
from .transports.adb_server import adb_program
from .transports.ssh_address import parse_ssh_address
from .transports.ssh_config import CONFIG_VARIABLE


def shell_command(address: str) -> list[str]:
    """The command of an interactive shell on a device, with its program's path.

    Raises:
        UsageError: the address is malformed, or the program is not installed here.
        DeviceError: over ADB, there is no usable device.
    """
    transport = open_transport(address)
    scheme = address.partition("://")[0]
    if scheme == "ssh":
        return _ssh(address)
    if scheme == "adb":
        transport.run(["true"])  # adb itself neither connects nor says what to do
        serial = address.removeprefix("adb://").strip("/")
        return [adb_program(), *(["-s", serial] if serial else []), "shell"]
    return [os.environ.get("SHELL") or "/bin/sh"]


def _ssh(address: str) -> list[str]:
    """OpenSSH's own client with the same configuration; it asks and verifies as it is told to."""
    told = parse_ssh_address(address)
    configuration = os.environ.get(CONFIG_VARIABLE)
    options = ["-F", configuration] if configuration else []
    if told.port is not None:
        options += ["-p", str(told.port)]
    if told.user is not None:
        options += ["-l", told.user]
    return [_program("ssh"), *options, "--", told.host]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UsageError(
            f"no {name} here, which gives the shell",
            hint=f"install {name}, or run a command: edgewright devices shell NAME -- COMMAND",
        )
    return found
