"""The seam to adbutils and the adb server: what they say becomes one of our errors."""

from __future__ import annotations

import subprocess

from ...errors import DeviceError, DeviceTimeout, Unauthorized, Unreachable

READY = "device"
SETTLING = frozenset({"authorizing", "connecting"})

_PLUG_HINT = (
    "switch on USB debugging on the device (Settings, Developer options), and try another cable "
    "or port"
)
_ALLOW_HINT = (
    "unlock the device, look at its screen and allow USB debugging for this computer, always; "
    "where no question appears, revoke the authorizations in its developer options and plug it in "
    "again"
)
_UDEV_HINT = (
    "on Debian and Ubuntu: sudo apt install android-sdk-platform-tools-common, add yourself to the "
    "group plugdev, log in again and replug the device; elsewhere see "
    "https://developer.android.com/studio/run/device"
)
_WIRELESS_HINT = (
    "is it on, in this network, and is wireless debugging on? Its port changes each time: the "
    "device shows it in its developer options"
)
_MODES = {
    "bootloader": "it is in its boot loader",
    "recovery": "it is in recovery mode",
    "rescue": "it is in rescue mode",
    "sideload": "it is in sideload mode",
}


def library_errors() -> tuple[type[BaseException], ...]:
    """What calls into adbutils may raise where the device or the way to it is the cause."""
    from adbutils import AdbError

    # ValueError: an answer that is no number; SubprocessError: it starts the server by itself.
    return (AdbError, OSError, EOFError, ValueError, subprocess.SubprocessError)


def device_error(error: BaseException, where: str) -> DeviceError:
    """Our error for one of adbutils, of the adb server behind it, or of the socket between.

    Args:
        where: the device, as the user knows it.
    """
    from adbutils.errors import AdbConnectionError, AdbTimeout

    said = str(error)
    match error:
        case DeviceError():
            return error
        case AdbTimeout() | TimeoutError():
            return DeviceTimeout(f"{where}: it did not answer in time")
        case AdbConnectionError() | ConnectionError() | EOFError() | subprocess.SubprocessError():
            return Unreachable(f"{where}: the connection to the adb server was lost")
        case OSError():
            return Unreachable(f"{where}: the connection failed ({error.strerror or error})")
    if "not found" in said:
        return gone(where)
    if "unauthorized" in said:
        return state_error("unauthorized", where)
    if "offline" in said:
        return state_error("offline", where)
    if "no permissions" in said or "insufficient permissions" in said:
        return state_error("no permissions", where)
    if "Unknown data: b''" in said or "connection closed" in said or said == "closed":
        return Unreachable(f"{where}: the connection was lost")
    if isinstance(error, ValueError) or "Unknown data" in said:
        return DeviceError(
            f"{where}: what answers does not speak adb's protocol",
            hint="does another program listen on the port of the adb server?",
        )
    return Unreachable(f"{where}: adb says {said or 'nothing'}")


def gone(where: str) -> Unreachable:
    """The error of a device that was there."""
    return Unreachable(
        f"{where}: the device is gone: unplugged, switched off, restarting or out of reach",
        hint=_PLUG_HINT,
    )


def silent(where: str) -> Unreachable:
    """The error of a device that the adb server believes to be there."""
    return Unreachable(
        f"{where}: the device does not answer, though adb lists it as connected",
        hint="is it on, awake and in reach? Plug it in again, or run `adb reconnect`",
    )


def no_device(where: str) -> Unreachable:
    """The error of an adb server that knows no device at all."""
    return Unreachable(f"{where}: no device is connected", hint=_PLUG_HINT)


def state_error(state: str, where: str) -> DeviceError:
    """The error of a device in a state in which it can't be used, with adb's word for that."""
    word = state.strip()
    if word.startswith("no permissions"):
        return DeviceError(
            f"{where}: this user may not open the USB device (no permissions)", hint=_UDEV_HINT
        )
    if word in ("unauthorized", "authorizing"):
        return Unauthorized(f"{where}: the device has not allowed this computer", hint=_ALLOW_HINT)
    if word in ("offline", "connecting"):
        return Unreachable(
            f"{where}: the device is offline: adb sees it, but it does not answer",
            hint="unlock it, plug it in again, or restart it; `adb reconnect offline` may help",
        )
    return Unreachable(
        f"{where}: {_MODES.get(word, f'it is in the state {word!r}')}",
        hint="restart it into Android: `adb reboot` does",
    )


def connect_error(said: str, where: str) -> DeviceError | None:
    """The error in what the adb server says of a connection; None where it was made."""
    plain = said.lower()
    if plain.startswith(("connected to", "already connected")):
        return None
    if "failed to authenticate" in plain:
        return Unauthorized(f"{where}: the device has not allowed this computer", hint=_ALLOW_HINT)
    if plain == f"failed to connect to {where.removeprefix('adb://')}":
        plain = "timed out"  # that is how it says so
    reasons = {
        "refused": "nothing listens there (connection refused)",
        "timed out": "it did not answer in time",
        "no route": "there is no route to it",
        "unreachable": "there is no route to it",
        "resolve": "the host's name is not known",
        "name or service not known": "the host's name is not known",
        "no address associated": "the host's name is not known",
    }
    reason = next((ours for words, ours in reasons.items() if words in plain), None)
    return Unreachable(f"{where}: {reason or f'adb says: {said}'}", hint=_WIRELESS_HINT)
