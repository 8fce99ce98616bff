"""Compares how fast a model gets to a device over SSH: `scp`, Edgewright, and paramiko's SFTP.

    python benchmarks/transfer.py
    python benchmarks/transfer.py --device ssh://pi@raspberrypi.local --rounds 3

Without --device it starts an OpenSSH server of its own on this machine, as the tests do. The ways
alternate, round by round; each connects anew every time, and that is part of its time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table

from edgewright.errors import EdgewrightError
from edgewright.files import write_json
from edgewright.profiler.blobs import Blob, deploy
from edgewright.profiler.deploy import install_agent, remove
from edgewright.profiler.transports import open_transport
from edgewright.profiler.transports.ssh_address import parse_ssh_address
from edgewright.profiler.transports.ssh_config import (
    CONFIG_VARIABLE,
    Destination,
    find_destination,
)
from edgewright.targets.load import load_target
from edgewright.targets.profile import Model

_ROOT = Path(__file__).resolve().parent.parent
#: Edgewright's rate is to be at least this share of scp's, and a second deploy quicker than this.
_GOAL = 0.9
_SECOND_S = 1.0

_REMOTE = "edgewright-benchmark.bin"


class Row(Model):
    """One way to copy, in one direction."""

    direction: Literal["push", "pull", "second deploy"]
    way: str
    seconds: tuple[float, ...]
    relative: tuple[float, ...] = Field(description="rate, as a share of scp's in the same round")


class Report(Model):
    """One run of the benchmark."""

    schema_version: Literal[1] = 1
    date: str = Field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    cpu: str
    device: str
    size_bytes: int
    delay_ms: float
    load_1min: float
    versions: dict[str, str]
    rows: tuple[Row, ...]
    second_deploy_bytes: int


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    device: str | None
    rounds: int
    size_bytes: int
    delay_ms: float
    json: Path | None


@dataclass(frozen=True)
class Place:
    """The device, the file here, and the copy that comes back."""

    address: str
    destination: Destination
    source: Path
    back: Path

    def scp(self, push: bool, *more: str) -> None:
        """The user's scp with the same configuration."""
        config = os.environ.get(CONFIG_VARIABLE)
        d = self.destination
        host = f"[{d.host}]" if ":" in d.host else d.host
        there = f"{d.user}@{host}:{_REMOTE}"
        files = [str(self.source), there] if push else [there, str(self.back)]
        options = ["-F", config] if config else []
        subprocess.run(["scp", "-q", *options, "-P", str(d.port), *more, *files], check=True)

    def edgewright(self, push: bool) -> None:
        transport = open_transport(self.address)
        try:
            if push:
                transport.push(self.source, _REMOTE)
            else:
                transport.pull(_REMOTE, self.back)
        finally:
            transport.close()

    def paramiko(self, push: bool) -> None:
        import paramiko

        d = self.destination
        with paramiko.SSHClient() as client:
            for path in d.known_hosts:
                with contextlib.suppress(OSError):
                    client.load_host_keys(str(path))
            keys = [str(path) for path in d.identity_files] or None
            client.connect(d.host, d.port, d.user, key_filename=keys)
            with client.open_sftp() as sftp:
                if push:
                    sftp.put(str(self.source), _REMOTE)
                else:
                    sftp.get(_REMOTE, str(self.back))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table, writes the report; returns the exit code."""
    options = _parse(arguments)
    try:
        with _device(options) as address, tempfile.TemporaryDirectory() as name:
            report = _measure(options, address, Path(name))
    except EdgewrightError as error:
        print(f"{error.message}\n{error.hint or ''}".rstrip(), file=sys.stderr)
        return 2
    _show(report)
    if options.json:
        write_json(options.json, report.model_dump(mode="json"))
    return 0


@contextlib.contextmanager
def _device(options: Options) -> Iterator[str]:
    """The device's address; one of our own is there as long as it is looked at."""
    if options.device:
        yield options.device
        return
    sys.path.insert(0, str(_ROOT / "tests"))
    from devices.sshd import start_sshd

    with start_sshd() as device, contextlib.ExitStack() as cleanup:
        port = device.port
        if options.delay_ms:
            port = cleanup.enter_context(_slow_cable(port, options.delay_ms / 1e3))
            device.files.write_client_files(device.user, port)
        os.environ[CONFIG_VARIABLE] = str(device.ssh_config_path)
        yield f"ssh://{device.user}@{device.host}:{port}"


@contextlib.contextmanager
def _slow_cable(port: int, delay_s: float) -> Iterator[int]:
    """A proxy in a process of its own: in this one it would take its time from paramiko's."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    carrier = context.Process(target=_carry, args=(theirs, port, delay_s), daemon=True)
    carrier.start()
    try:
        yield ours.recv()
    finally:
        carrier.kill()
        carrier.join()


def _carry(told: Connection, port: int, delay_s: float) -> None:
    sys.path.insert(0, str(_ROOT / "tests"))
    from devices.proxy import Proxy

    with Proxy(port, delay_s=delay_s) as proxy:
        told.send(proxy.port)
        told.poll(None)  # until the other process ends


def _measure(options: Options, address: str, scratch: Path) -> Report:
    source = scratch / _REMOTE
    source.write_bytes(os.urandom(options.size_bytes))
    destination = find_destination(parse_ssh_address(address))
    place = Place(address, destination, source, scratch / "back")
    load = os.getloadavg()[0]
    rows = [*_copies(place, "push", options.rounds), *_copies(place, "pull", options.rounds)]
    transport = open_transport(address)
    remove(transport, _REMOTE)
    transport.close()
    seconds, sent_bytes = _second_deploys(place, options.rounds)
    rows.append(Row(direction="second deploy", way="edgewright", seconds=seconds, relative=()))
    return Report(
        cpu=load_target("host").cpu.soc,
        device=options.device or "an OpenSSH server on this machine",
        size_bytes=options.size_bytes,
        delay_ms=options.delay_ms,
        load_1min=load,
        versions=_versions(),
        rows=tuple(rows),
        second_deploy_bytes=sent_bytes,
    )


def _copies(place: Place, direction: Literal["push", "pull"], rounds: int) -> Iterator[Row]:
    push = direction == "push"
    ways: Mapping[str, Callable[[], None]] = {
        "scp": lambda: place.scp(push),
        "scp, aes128-gcm": lambda: place.scp(push, "-c", "aes128-gcm@openssh.com"),
        "edgewright": lambda: place.edgewright(push),
        "paramiko SFTP": lambda: place.paramiko(push),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        turn = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for way in turn:
            _forget(place, push)
            began = time.perf_counter()
            ways[way]()
            seconds[way].append(time.perf_counter() - began)
    if not push and place.back.read_bytes() != place.source.read_bytes():
        raise EdgewrightError("what came back is not what was sent")
    for way, taken in seconds.items():
        relative = [ours / own for ours, own in zip(seconds["scp"], taken, strict=True)]
        yield Row(direction=direction, way=way, seconds=tuple(taken), relative=tuple(relative))


def _forget(place: Place, push: bool) -> None:
    """Deletes the copy: writing over a file is not the same work as writing one."""
    if not push:
        place.back.unlink(missing_ok=True)
        return
    transport = open_transport(place.address)
    remove(transport, _REMOTE)
    transport.close()


def _second_deploys(place: Place, rounds: int) -> tuple[tuple[float, ...], int]:
    """How long it takes to find that the device has the file, and how much was sent all the same.

    The hash of the file here, the connection, and the look at the agent are part of it.
    """
    seconds: list[float] = []
    sent_bytes = 0
    journal: list[str] = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        transport = open_transport(place.address)
        agent = install_agent(transport, journal=journal)
        deployed = deploy(agent, [Blob.of(place.source)], journal=journal)
        taken = time.perf_counter() - began
        if number:
            seconds.append(taken)
            sent_bytes += deployed.sent_bytes
        if number == rounds:
            remove(transport, *journal)
        transport.close()
    return tuple(seconds), sent_bytes


def _versions() -> dict[str, str]:
    client = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    return {
        "client": client.split(",")[0].strip(),
        "paramiko": metadata.version("paramiko"),
        "python": platform.python_version(),
    }


def _show(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    table = Table(
        title=f"{report.date}: {report.size_bytes / 1e6:g} MB to and from {report.device}"
        + (f", {report.delay_ms:g} ms each way" if report.delay_ms else "")
        + f"; {report.cpu}, load {report.load_1min:.1f} before; {versions}",
        title_justify="left",
    )
    table.add_column("")
    for column in ("median s", "MB/s", "rate / scp's", "smallest", "largest"):
        table.add_column(column, justify="right")
    direction = ""
    for row in report.rows:
        if row.direction != direction:
            direction = row.direction
            table.add_section()
            table.add_row(f"[bold]{direction}")
        median = statistics.median(row.seconds)
        cells = [row.way, f"{median:.3f}"]
        if row.relative:
            cells.append(f"{report.size_bytes / 1e6 / median:.0f}")
            spread = (statistics.median(row.relative), min(row.relative), max(row.relative))
            cells += [f"{value:.2f}" for value in spread]
        table.add_row(*cells)
    console.print(table)
    for row in report.rows:
        if row.way == "edgewright" and row.relative:
            console.print(_verdict(f"{row.direction}: rate / scp's", row.relative, _GOAL, True))
    console.print(_verdict("second deploy: seconds", report.rows[-1].seconds, _SECOND_S, False))
    console.print(f"second deploy: {report.second_deploy_bytes} bytes of it sent again")


def _verdict(what: str, values: Sequence[float], goal: float, at_least: bool) -> str:
    median = statistics.median(values)
    met = median >= goal if at_least else median < goal
    words = f"{'at least' if at_least else 'under'} {goal:g} wanted"
    return f"{what}: {median:.2f}, {words}: {'met' if met else 'NOT MET'}"


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description="Compare ways to copy a file over SSH.")
    parser.add_argument("--device", metavar="ADDRESS", help="ssh://…; by default one of our own")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--size-mb", type=float, default=100, help="(%(default)s)")
    parser.add_argument(
        "--delay-ms", type=float, default=0, help="each way, to the device of our own (none)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything")
    told = parser.parse_args(arguments)
    if told.rounds < 1 or told.size_mb <= 0 or told.delay_ms < 0:
        parser.error("--rounds and --size-mb are above 0, and --delay-ms is not below")
    if told.device and told.delay_ms:
        parser.error("--delay-ms is for the device of our own")
    return Options(told.device, told.rounds, int(told.size_mb * 1e6), told.delay_ms, told.json)


if __name__ == "__main__":
    sys.exit(main())
