"""The commands about the user's devices."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import Json, complete_device, complete_target, show
from .errors import EdgewrightError, UsageError

if TYPE_CHECKING:
    from .profiler.cleaning import Leftovers
    from .profiler.live_device import LiveDevice

devices_app = typer.Typer(
    help="Your devices: a name, an address and a profile for each.", invoke_without_command=True
)

Name = Annotated[
    str, typer.Argument(help="A device's name or address.", autocompletion=complete_device)
]


@devices_app.callback()
def _devices(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_devices()


@devices_app.command("list")
def list_devices(
    check: Annotated[bool, typer.Option("--check", help="Ask each whether it answers.")] = False,
    as_json: Json = False,
) -> None:
    """List your devices."""
    from dataclasses import asdict

    from .profiler.device_states import check_devices, unlisted_phones
    from .profiler.devices_file import read_devices
    from .profiler.devices_path import devices_path

    path = str(devices_path())
    devices = list(read_devices().values())
    if check:
        devices += unlisted_phones(devices)
    states = check_devices(devices) if check else None
    rows = [device.model_dump(mode="json") for device in devices]
    for row, state in zip(rows, states or (), strict=bool(states)):
        row.update(asdict(state))

    def table() -> Any:
        from .profiler.tables_device_list import devices_table

        return devices_table(devices, states, path)

    show({"schema_version": 1, "file": path, "devices": rows}, table, as_json)


@devices_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call it: letters, digits, '.', '_', '-'.")],
    address: Annotated[
        str, typer.Argument(help="ssh://[user@]host[:port], adb://[SERIAL] or local.")
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="The profile that it is like: a target's name, or a TOML file.",
            autocompletion=complete_target,
        ),
    ] = None,
    note: Annotated[str | None, typer.Option(help="Words for yourself.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a device of this name.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a device down.

    The device itself is not asked: `list --check` and `probe` do that.
    """
    from .profiler.devices_file import add_device, known_device
    from .profiler.devices_path import devices_path

    add_device(name, address, target=target, note=note, replace=replace)
    document = {"schema_version": 1, "device": known_device(name).model_dump(mode="json")}
    show(document, lambda: f"{name} is in {devices_path()}", as_json)


@devices_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Its name.", autocompletion=complete_device)],
    as_json: Json = False,
) -> None:
    """Take a device out of your list.

    Nothing on the device is touched; `clean` does that.
    """
    from .profiler.devices_file import remove_device
    from .profiler.devices_path import devices_path

    remove_device(name)
    document = {"schema_version": 1, "removed": name}
    show(document, lambda: f"{name} is no longer in {devices_path()}", as_json)


@devices_app.command("show")
def show_device(device: Name, as_json: Json = False) -> None:
    """Show a device and what is on it.

    What it is, what state it is in, what Edgewright keeps there, whose measurement runs, and which
    can be resumed.
    """
    from .profiler.devices_file import find_device
    from .profiler.report_devices import live_document

    found = find_device(device)
    live = _look_at(device)

    def table() -> Any:
        from .profiler.tables_devices import shown_table

        return shown_table(found, live)

    show(live_document(found, live), table, as_json)


@devices_app.command("probe")
def probe(
    device: Name,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="The profile to hold it against; by default the one in the devices file.",
            autocompletion=complete_target,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the profile is called; by default as the device, or its host."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="By default NAME.toml in the folder of your own profiles."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a profile that is there.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look only; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Write the profile of a live device.

    Cores, clocks, features, memory, system, runtimes, accelerators, thermal zones; and where the
    profile that it claims to be says otherwise. A profile that is there already stays.
    """
    from datetime import date

    from .profiler.devices_file import find_device
    from .profiler.probed_profile import differences, probed_profile
    from .profiler.report_devices import probed_document
    from .targets.load import load_target
    from .targets.write import check_name, keep_profile, name_from, own_file, profile_text

    found = find_device(device)
    if name is not None:
        check_name(name)
    named = against or found.target
    claimed = load_target(named) if named else None
    live = _look_at(device)
    called = name or name_from(found.name or live.facts.model or live.facts.hostname or "device")
    probed = probed_profile(live, called, date.today())
    path = output or own_file(called)
    kept = None
    if not dry_run:
        kept = keep_profile(profile_text(probed), path, replace=replace)
    wrong = differences(live, claimed) if claimed else None

    def table() -> Any:
        from .profiler.tables_devices import probed_table

        return probed_table(found, live, claimed, wrong, (path, kept))

    show(probed_document(found, live, claimed, wrong, probed, (str(path), kept)), table, as_json)


def _look_at(device: str) -> LiveDevice:
    from .profiler.devices_file import open_device
    from .profiler.live_device import look_at

    with contextlib.closing(open_device(device)) as transport:
        return look_at(transport)


@devices_app.command("trust")
def trust(
    device: Name,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask: the network is trusted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Accept the host key of an SSH server.

    It is put on record after a look at its fingerprint. A key that differs from the one on record
    is never accepted.
    """
    from .profiler.devices_file import find_device, open_device
    from .profiler.transports.ssh_trust import Offer, accept_host_key

    address = find_device(device).address
    if not address.startswith("ssh://"):
        with contextlib.closing(open_device(device)):  # refuses what is neither name nor address
            raise UsageError(f"{address} has no host key: only devices over SSH have")

    def confirm(offer: Offer) -> bool:
        print(
            f"{offer.server} shows the host key {offer.algorithm} {offer.fingerprint}.\n"
            f"The device itself shows its own with: {offer.command}",
            file=sys.stderr,
        )
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(
                "nobody is at a terminal to say whether that is the right key",
                hint="give --yes once you have compared the fingerprints",
            )
        return typer.confirm("Is it the same?", err=True)

    fingerprint = accept_host_key(address, confirm)
    show(
        {"schema_version": 1, "address": address, "fingerprint": fingerprint},
        lambda: f"{address} is on record with {fingerprint}",
        as_json,
    )


@devices_app.command("shell")
def shell(
    device: Name,
    command: Annotated[
        list[str] | None, typer.Argument(help="After `--`: one command to run.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=1e6, help="Seconds that the command may take.")
    ] = 3600.0,
) -> None:
    """Open a shell on a device, or run one command there.

    A command's output comes when it has ended; its exit code becomes this one's.
    """
    import os

    from .profiler.device_shell import shell_command
    from .profiler.devices_file import find_device, open_device

    if command:
        with contextlib.closing(open_device(device)) as transport:
            done = transport.run(command, timeout_s=timeout)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        sys.stdout.flush()
        sys.exit(done.code)
    words = shell_command(find_device(device).address)
    if not sys.stdin.isatty():
        raise UsageError(
            "a shell needs a terminal",
            hint="run one command: edgewright devices shell NAME -- COMMAND",
        )
    os.execv(words[0], words)


@devices_app.command("clean")
def clean(
    device: Annotated[
        str | None,
        typer.Argument(help="A device's name or address.", autocompletion=complete_device),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="All devices of your list.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where a measurement runs that somebody waits for.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be ended and removed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove all that is Edgewright's from a device.

    What it runs there is ended. Models, the agent, runtimes and results that nobody has collected
    go; the next measurement sends again what it needs.
    """
    from .profiler.cleaning import clean as run_clean
    from .profiler.cleaning import look
    from .profiler.devices_file import open_device, read_devices

    if everywhere == (device is not None):
        raise UsageError("name one device, or give --all")
    results: dict[str, Leftovers | EdgewrightError] = {}
    for name in read_devices() if device is None else [device]:
        try:
            with contextlib.closing(open_device(name)) as transport:
                results[name] = look(transport) if dry_run else run_clean(transport, force=force)
        except EdgewrightError as error:
            if device is not None:
                raise
            results[name] = error

    def table() -> Any:
        from .profiler.tables_devices import cleaned_table

        return cleaned_table(results, dry_run)

    from .profiler.report_devices import cleaned_document

    show(cleaned_document(results, dry_run), table, as_json)
    codes = [e.exit_code for e in results.values() if isinstance(e, EdgewrightError)]
    if codes:
        raise typer.Exit(max(codes))
