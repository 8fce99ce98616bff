"""Whether the user's devices answer now."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import (
    DeviceTimeout,
    EdgewrightError,
    HostKeyMismatch,
    Unauthorized,
    Unreachable,
)
from .devices_file import FoundDevice
from .transports import open_transport

#: How long a device may take to run nothing.
ANSWER_S = 20.0
AT_ONCE = 8
_STATES = (
    (Unauthorized, "unauthorized"),
    (HostKeyMismatch, "host key not accepted"),
    (Unreachable, "unreachable"),
    (DeviceTimeout, "no answer in time"),
)


@dataclass(frozen=True)
class DeviceState:
    """One device's answer.

    Attributes:
        state: 'reachable', or what is wrong in two words.
        detail: the whole message; empty where all is well.
        hint: what to do about it.
    """

    state: str
    detail: str = ""
    hint: str | None = None


def check_devices(devices: Sequence[FoundDevice]) -> list[DeviceState]:
    """Asks each device to run nothing, several at once; an answer for each, in order."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(_check, devices))


def unlisted_phones(known: Sequence[FoundDevice]) -> list[FoundDevice]:
    """What the adb server sees and the devices file does not name; none where no server runs."""
    from .transports.adb_server import Server

    listed = {device.address for device in known}
    try:
        server = Server()
        states = server.states() if server.listens() else {}
    except EdgewrightError:
        return []
    return [
        FoundDevice(address=f"adb://{serial}")
        for serial in states
        if f"adb://{serial}" not in listed and not ("adb://" in listed and len(states) == 1)
    ]


def _check(device: FoundDevice) -> DeviceState:
    try:
        with contextlib.closing(open_transport(device.address)) as transport:
            done = transport.run(["true"], timeout_s=ANSWER_S)
    except EdgewrightError as error:
        state = next((word for kind, word in _STATES if isinstance(error, kind)), "failed")
        return DeviceState(state, error.message, error.hint)
    if done.code != 0:
        return DeviceState("runs no commands", done.stderr.strip() or f"exit code {done.code}")
    return DeviceState("reachable")
