"""Devices over ADB: commands, copies, lost links and states, against a real adbd on arm64."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devices.adbd import AdbPhone, start_adb_phone
from devices.processes import wait_until

from edgewright.errors import DeviceTimeout
from edgewright.profiler.transports import Transport, open_transport

pytestmark = pytest.mark.device

PLACE = "/data/local/tmp"
MEGABYTE = bytes(range(256)) * 4096
FAMILY = "sleep 1001 & sleep 1000"
"""A command with a child, which takes very long."""


@pytest.fixture(scope="module")
def lasting_phone() -> Iterator[AdbPhone]:
    with start_adb_phone() as phone:
        yield phone


@pytest.fixture
def phone(lasting_phone: AdbPhone, monkeypatch: pytest.MonkeyPatch) -> AdbPhone:
    """A phone that the tests share, empty."""
    for variable in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_SERIAL"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in lasting_phone.server.environment.items():
        monkeypatch.setenv(variable, value)
    for file in lasting_phone.home.iterdir():
        file.unlink()
    return lasting_phone


@pytest.fixture
def transport(phone: AdbPhone) -> Transport:
    return open_transport(phone.address)


def wait_until_quiet(phone: AdbPhone) -> None:
    wait_until(lambda: not phone.processes())


# Commands


def test_a_command_has_an_exit_code_and_separate_outputs(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "cat; echo out; echo err >&2; exit 7"])
    assert (done.code, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_a_signal_is_reported_as_a_shell_does(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; kill -KILL $$"])
    assert (done.code, done.stdout, done.stderr) == (128 + 9, "out\n", "")


def test_a_missing_program_is_a_failed_command(transport: Transport) -> None:
    missing, forbidden = transport.run(["no-such-program"]), transport.run(["/system/build.prop"])
    assert (missing.code, forbidden.code) == (127, 126)
    assert "no-such-program" in missing.stderr


def test_a_command_has_the_shell_user_s_rights(transport: Transport) -> None:
    assert transport.run(["id", "-u"]).stdout == "2000\n"


def test_large_outputs_arrive_whole(transport: Transport) -> None:
    fill = "head -c 3000000 /dev/zero | tr '\\0' {}"
    done = transport.run(["sh", "-c", f"{fill.format('o')}; {fill.format('e')} >&2"])
    assert (done.stdout, done.stderr) == ("o" * 3_000_000, "e" * 3_000_000)


def test_hostile_arguments_arrive_unchanged(transport: Transport, phone: AdbPhone) -> None:
    arguments = [
        "",
        " ",
        "a'b\"c",
        "$(touch pwned)",
        "`id`",
        "; id",
        "\\",
        "-n",
        "é\n*",
        "a\r",
        "!",
    ]
    done = transport.run(["printf", "%s\\0", *arguments])
    assert done.stdout.split("\0")[:-1] == arguments
    assert os.listdir(phone.home) == []


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    transport: Transport, phone: AdbPhone
) -> None:
    started = time.monotonic()
    with pytest.raises(DeviceTimeout, match=r"did not end in 1 s; it was killed; .*'last'$"):
        transport.run(["sh", "-c", f"echo last >&2; {FAMILY}"], timeout_s=1)
    assert time.monotonic() - started < 7
    wait_until_quiet(phone)
    assert transport.run(["echo", "still here"]).stdout == "still here\n"


# Copies


def test_100_megabytes_go_there_and_back(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    content = os.urandom(1_000_000) * 100
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    steps: list[tuple[int, int]] = []
    transport.push(source, f"{PLACE}/model", lambda done, size: steps.append((done, size)))
    assert steps[0] == (0, 100_000_000) and steps[-1] == (100_000_000, 100_000_000)
    assert steps == sorted(steps) and len(steps) > 100
    assert (phone.home / "model").read_bytes() == content
    steps.clear()
    transport.pull(f"{PLACE}/model", back, lambda done, size: steps.append((done, size)))
    assert steps[0] == (0, 100_000_000) and steps[-1] == (100_000_000, 100_000_000)
    assert back.read_bytes() == content
    assert os.listdir(phone.home) == ["model"]
