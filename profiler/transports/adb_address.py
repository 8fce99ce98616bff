"""What a user may write after `adb://`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import UsageError

FORM = "adb:// for the only device, adb://SERIAL, or adb://host:port for wireless debugging"

# A serial number, a USB path ("usb:1-4"), or the name of a wireless device.
_SERIAL = re.compile(r"\w[\w.:()\- ]*")
_NETWORK = re.compile(r"(?P<host>\w[\w.-]*|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class AdbAddress:
    """An address as the user wrote it.

    Attributes:
        serial: None for the only device.
        is_network: `serial` is a host and a port that adb has to connect to first.
    """

    serial: str | None = None
    is_network: bool = False


def parse_adb_address(text: str) -> AdbAddress:
    """Reads `adb://`, `adb://SERIAL` or `adb://host:port`.

    Raises:
        UsageError: it is malformed.
    """
    serial = text.removeprefix("adb://").removesuffix("/")
    if not serial:
        return AdbAddress()
    if "@" in serial:  # what stands before it may be a password
        raise UsageError(
            "a device address over ADB has no user and no password",
            hint=f"expected {FORM}; `edgewright` uses the keys of adb",
        )
    network = _NETWORK.fullmatch(serial)
    if network is not None:
        if not 0 < int(network["port"]) < 65536:
            raise _malformed(text, f"{network['port']} is not a port (1 to 65535)")
        return AdbAddress(serial, is_network=True)
    if not _SERIAL.fullmatch(serial):
        raise _malformed(text, f"{serial!r} can't be a device's serial number")
    return AdbAddress(serial)


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(f"device address {text!r}: {why}", hint=f"expected {FORM}")
