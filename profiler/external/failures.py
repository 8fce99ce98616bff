"""Why a tool failed on a device, told apart: what is wrong, and what to do."""

from __future__ import annotations

from ...errors import AgentFailed, DeviceError, DeviceOutOfMemory, RuntimeMissing
from ..transports.base import Completed, Transport
from .base import ExternalTool, Said
from .delivery import Program
from .machine import built_for, fits


def failure(
    transport: Transport,
    tool: ExternalTool,
    model: str,
    program: Program,
    done: Completed,
    said: Said,
) -> DeviceError:
    """Why a tool did not end as it should: the error to raise.

    Args:
    model: its name.
    """
    where, name = transport.address, tool.name
    told = tool.complaint(said) or _last(done.stderr) or _last(done.stdout)
    wrong = _wrong_machine(transport, tool, program)
    if wrong is not None:
        return wrong
    if "error while loading shared libraries" in done.stderr or "CANNOT LINK" in done.stderr:
        return RuntimeMissing(
            f"{where}: {name} lacks a shared library: {_last(done.stderr)}",
            hint=f"put {name} and its libraries into a directory, and name that with --runner-path",
        )
    if done.code in (126, 127):
        return RuntimeMissing(
            f"{where}: {program.path} can't be run: {_last(done.stderr)}",
            hint="make it executable, on a disk that is not mounted noexec",
        )
    if done.code == 137:
        return DeviceOutOfMemory(
            f"{where}: {name} was killed while it ran {model}, most likely for memory",
            hint="use a smaller model, or end other programs on the device",
        )
    how = f"ended with code {done.code}"
    if done.code > 128 and (signal := _signal_name(done.code - 128)):
        how = f"crashed ({signal})"
    return AgentFailed(
        f"{where}: {name} {how} on {model}" + (f": {told}" if told else ""),
        hint="it may not read this model, or not know an option: run it by hand on the device",
    )


def _wrong_machine(
    transport: Transport, tool: ExternalTool, program: Program
) -> DeviceError | None:
    done = transport.run(["sh", "-c", 'uname -m; od -An -tx1 -N20 "$1"', "sh", program.path])
    machine, _, header = done.stdout.partition("\n")
    built = built_for(header)
    if built is None or fits(built, machine.strip()):
        return None
    return RuntimeMissing(
        f"{transport.address}: {tool.name} was built for {built}, the device is {machine.strip()}",
        hint=f"use a {tool.name} built for {machine.strip()}",
    )


def _signal_name(number: int) -> str | None:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else ""
