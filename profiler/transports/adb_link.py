"""From an address to streams to the device's services, through the adb server."""

from __future__ import annotations

import contextlib
import difflib
import os
import time
from typing import TYPE_CHECKING

from ...errors import DeviceError, DeviceTimeout, Unreachable, UsageError
from .adb_address import AdbAddress
from .adb_errors import (
    READY,
    SETTLING,
    connect_error,
    device_error,
    library_errors,
    no_device,
    silent,
    state_error,
)
from .adb_server import Server

if TYPE_CHECKING:
    import adbutils

OPEN_TIMEOUT_S = 10.0
"""How long a device may take to open a stream; it takes milliseconds where the link is alive."""

SETTLE_TIMEOUT_S = 5.0
SERIAL_VARIABLE = "ANDROID_SERIAL"


class Link:
    """The device that an address names, once it has been found.

    The adb server goes on saying "device" when a wireless link is dead, and what is asked of it
    then hangs: each stream is opened under a timeout, and a dead connection is made anew.
    """

    def __init__(self, address: AdbAddress, where: str) -> None:
        """Raises UsageError where the environment names no adb server that can be used."""
        self._server = Server()
        self._address = address
        self._where = where
        self._wanted = address.serial or os.environ.get(SERIAL_VARIABLE)
        self._is_found = False

    def open(self, service: bytes) -> adbutils.AdbConnection:
        """A stream to one of the device's services.

        Raises:
            UsageError: the address fits several devices.
            Unreachable, Unauthorized, DeviceError: there is no device that can be used, with why.
        """
        if self._is_found:
            with contextlib.suppress(DeviceError):
                return self._open(service, OPEN_TIMEOUT_S)
            self.forget()  # it may be back under another connection
        self._find()
        return self._open(service, OPEN_TIMEOUT_S)

    def answers(self, timeout_s: float) -> bool:
        """Whether the device itself, not the server, answers."""
        try:
            self._open(b"sync:", timeout_s).close()
        except DeviceError:
            return False
        return True

    def why_lost(self) -> str:
        """What the adb server says of a device whose stream ended; nothing is kept of the link."""
        try:
            state = self._server.states().get(self._wanted or "")
        except DeviceError as error:
            return error.message
        finally:
            self.forget()
        if state is None:
            return "the device is gone: unplugged, switched off or restarting"
        if state == READY:
            return "the device ended it, or does not answer"
        return f"the device is {state}"

    def forget(self) -> None:
        """Looks for the device again next time; over the network, by another connection."""
        if self._is_found and self._address.is_network and self._wanted:
            self._server.disconnect(self._wanted)
        self._is_found = False

    def _open(self, service: bytes, timeout_s: float) -> adbutils.AdbConnection:
        try:
            device = self._server.client().device(self._wanted)
            connection = device.open_transport(timeout=timeout_s)
            try:
                connection.conn.sendall(b"%04x" % len(service) + service)
                connection.check_okay()
            except BaseException:
                connection.close()
                raise
        except library_errors() as error:
            ours = device_error(error, self._where)
            raise (silent(self._where) if isinstance(ours, DeviceTimeout) else ours) from error
        return connection

    def _find(self) -> None:
        """Finds the device, connected to and ready, and remembers which one it is."""
        states = self._server.states()
        if self._wanted is None:
            self._wanted = self._only_one(states)
        if self._address.is_network and states.get(self._wanted) in (None, "offline"):
            self._connect(self._wanted)
        state = self._settled(self._wanted)
        if state is None:
            raise self._unknown(self._wanted)
        if state != READY:
            raise state_error(state, self._where)
        if "shell_v2" not in self._server.features(self._wanted):
            raise DeviceError(
                f"{self._where}: its adbd is too old to tell exit codes",
                hint="Android 7 or newer is needed",
            )
        self._is_found = True

    def _connect(self, serial: str) -> None:
        self._server.disconnect(serial)  # what is offline would stay so
        problem = connect_error(self._server.connect(serial), self._where)
        if problem is None:
            return
        if isinstance(problem, Unreachable):
            self._server.disconnect(serial)  # it would be listed as offline from now on
        raise problem

    def _settled(self, serial: str) -> str | None:
        """The device's state, once it is one that lasts."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            state = self._server.states().get(serial)
            if state not in SETTLING or time.monotonic() > deadline:
                return state
            time.sleep(0.1)

    def _only_one(self, states: dict[str, str]) -> str:
        if not states:
            raise no_device(self._where)
        if len(states) > 1:
            raise UsageError(
                f"{self._where}: several devices are connected",
                hint=f"name one: {_choices(states)}",
            )
        return next(iter(states))

    def _unknown(self, serial: str) -> DeviceError:
        states = self._server.states()
        if not states:
            return no_device(self._where)
        nearest = difflib.get_close_matches(serial, states, n=1)
        guess = f"did you mean adb://{nearest[0]}? " if nearest else ""
        return Unreachable(
            f"{self._where}: no device with this serial number is connected",
            hint=f"{guess}Connected are {_choices(states)}",
        )


def _choices(states: dict[str, str]) -> str:
    """What to type for each device, with the states that need attention."""
    return ", ".join(
        f"adb://{serial}" + ("" if state == READY else f" ({state})")
        for serial, state in sorted(states.items())
    )
