"""Every error Edgewright raises on purpose.

EdgewrightError                 exit code
├── UsageError                  2   the user's model, data, profile, recipe or project file is wrong
├── ConversionError             2   the model can't be converted, or came out different
├── IntegrityError              2   a hash or signature does not match
└── DeviceError                 3   the device, or the way to it
    ├── Unreachable                 no answer (may pass)
    ├── Unauthorized                credentials refused
    ├── HostKeyMismatch             the host key is unknown, or changed
    ├── DeviceTimeout               no answer in time (may pass)
    ├── DeviceBusy                  another measurement runs there
    ├── DeviceOutOfMemory           the device killed the run
    ├── DeviceRestarted             the device was restarted during the run
    ├── NoSpaceOnDevice             the device's disk is full
    ├── RuntimeMissing              no Python, or no runtime that fits the model
    └── AgentFailed                 the agent or the runtime crashed on the device

Exit code 1, a check or a gate that says no, is an answer and no error; 4, a defect of ours, is
whatever else is raised.
"""

from __future__ import annotations

from typing import ClassVar


class EdgewrightError(Exception):
    """The root of the tree.

    Attributes:
        message: what is wrong and where.
        hint: what to do about it; None where there is nothing to say.
        exit_code: what the command line exits with.
        transient: whether trying again can help.
    """

    exit_code: ClassVar[int] = 4
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgewrightError):
    """The user's input is wrong; the message names the file, the key and what was expected."""

    exit_code = 2


class ConversionError(EdgewrightError):
    """A model could not be converted, or its outputs changed past the tolerance."""

    exit_code = 2


class IntegrityError(EdgewrightError):
    """A hash or a signature does not match what was promised."""

    exit_code = 2


class DeviceError(EdgewrightError):
    """The device, or the way to it, failed."""

    exit_code = 3


class Unreachable(DeviceError):
    """The device does not answer, or the connection was lost."""

    transient = True


class Unauthorized(DeviceError):
    """The device refused the credentials."""


class HostKeyMismatch(DeviceError):
    """The device's host key is unknown or differs from the one on record."""


class DeviceTimeout(DeviceError):
    """The device did not answer in time."""

    transient = True


class DeviceBusy(DeviceError):
    """Another measurement runs on the device; two at once would disturb each other."""


class DeviceOutOfMemory(DeviceError):
    """The device ran out of memory and killed the run."""


class DeviceRestarted(DeviceError):
    """The device was restarted during the run, of which nothing is left."""


class NoSpaceOnDevice(DeviceError):
    """The device's disk is full."""


class RuntimeMissing(DeviceError):
    """The device has no Python, or no runtime that fits the model."""


class AgentFailed(DeviceError):
    """The agent or the runtime crashed on the device."""
