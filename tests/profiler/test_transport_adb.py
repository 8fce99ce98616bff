"""Devices over ADB: commands, copies, lost links and states, against a real adbd on arm64."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from devices.adbd import AdbPhone, AdbPhoneFactory, start_adb_phone
from devices.processes import wait_until

from edgewright.errors import DeviceError, DeviceTimeout, NoSpaceOnDevice, Unreachable, UsageError
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
    wait_until(lambda: not phone.processes(), 20)


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
    assert time.monotonic() - started < 15
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


def test_an_empty_file_goes_there_and_back(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.touch()
    transport.push(source, f"{PLACE}/empty")
    transport.pull(f"{PLACE}/empty", back)
    assert back.read_bytes() == (phone.home / "empty").read_bytes() == b""


def test_a_push_sets_the_mode(transport: Transport, phone: AdbPhone, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("#!/system/bin/sh\necho it runs\n")
    transport.push(source, f"{PLACE}/private")
    transport.push(source, f"{PLACE}/tool", mode=0o755)
    assert (phone.home / "private").stat().st_mode & 0o777 == 0o600
    assert (phone.home / "tool").stat().st_mode & 0o777 == 0o755
    assert transport.run([f"{PLACE}/tool"]).stdout == "it runs\n"


def test_hostile_names_are_used_as_given(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    for name in ("-rf", "a b", "$(id)", "é\n'\"", "*"):
        source.write_text(name)
        transport.push(source, f"{PLACE}/{name}")
        assert os.listdir(phone.home) == [name]
        transport.pull(f"{PLACE}/{name}", back)
        assert back.read_text() == name
        (phone.home / name).unlink()


def test_a_copy_that_can_not_be_is_explained(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(MEGABYTE)
    with pytest.raises(UsageError, match=r"missing .*does not exist"):
        transport.push(tmp_path / "missing", f"{PLACE}/there")
    with pytest.raises(DeviceError, match=r"can't write .*/no/there: no such"):
        transport.push(source, f"{PLACE}/no/there")
    with pytest.raises(DeviceError, match="it is a directory"):
        transport.push(source, PLACE)
    with pytest.raises(DeviceError, match="can't write /system/there: permission denied"):
        transport.push(source, "/system/there")
    with pytest.raises(
        DeviceError, match="can't write /vendor/there: the file system is read-only"
    ):
        transport.push(source, "/vendor/there")
    with pytest.raises(DeviceError, match=r"can't read .*/missing: no such file"):
        transport.pull(f"{PLACE}/missing", back)
    with pytest.raises(DeviceError, match="it is a directory"):
        transport.pull(PLACE, back)
    with pytest.raises(DeviceError, match="not a regular file"):
        transport.pull("/dev/zero", back)
    with pytest.raises(DeviceError, match="permission denied"):
        transport.pull("/proc/1/environ", back)
    assert os.listdir(phone.home) == []
    assert not back.exists()


def test_a_full_disk_is_named(adb_phone: AdbPhoneFactory, tmp_path: Path) -> None:
    phone = adb_phone(data_size_mb=4)
    transport = open_transport(phone.address)
    source = tmp_path / "source"
    source.write_bytes(MEGABYTE * 20)
    before = tmp_path / "before"
    before.write_text("before")
    transport.push(before, f"{PLACE}/model")
    for resume in (False, True):
        with pytest.raises(NoSpaceOnDevice, match=r"can't write .*/model: no space left") as caught:
            transport.push(source, f"{PLACE}/model", resume=resume)
        assert caught.value.hint and not caught.value.transient
        assert os.listdir(phone.home) == ["model"]
        if not resume:
            assert (phone.home / "model").read_text() == "before"


def test_an_interrupted_copy_leaves_the_target_as_it_was(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(MEGABYTE * 20)
    back.write_text("before")
    transport.push(source, f"{PLACE}/whole")
    transport.push(back, f"{PLACE}/model")

    def interrupt(done: int, size: int) -> None:
        if done > size // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transport.push(source, f"{PLACE}/model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transport.pull(f"{PLACE}/whole", back, interrupt)
    assert back.read_text() == "before"
    wait_until(lambda: sorted(os.listdir(phone.home)) == ["model", "whole"])
    assert (phone.home / "model").read_text() == "before"
    assert not list(tmp_path.glob(".*"))


# Lost links


def test_an_interrupted_command_is_killed(transport: Transport, phone: AdbPhone) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupt_soon() -> None:
        wait_until(lambda: "sleep 1001" in phone.processes())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=interrupt_soon, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            transport.run(["sh", "-c", FAMILY])
    finally:
        signal.signal(signal.SIGUSR1, before)
    wait_until_quiet(phone)


def test_a_child_in_the_background_does_not_hold_the_answer_back(
    transport: Transport, phone: AdbPhone
) -> None:
    done = transport.run(["sh", "-c", "sleep 6 & echo out; echo err >&2; exit 3"])
    assert phone.processes() == ["sleep 6"]
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    wait_until_quiet(phone)


def test_adbd_that_dies_is_a_lost_connection(transport: Transport, phone: AdbPhone) -> None:
    def kill_soon() -> None:
        wait_until(lambda: "sleep 1001" in phone.processes())
        phone.kill_adbd()

    killing = threading.Thread(target=kill_soon)
    killing.start()
    try:
        with pytest.raises(Unreachable, match="the connection was lost") as caught:
            transport.run(["sh", "-c", FAMILY])
    finally:
        killing.join()
        phone.start_adbd()
    assert caught.value.transient
    wait_until_quiet(phone)  # the script that watches over the command has seen its input end
    assert transport.run(["echo", "again"]).stdout == "again\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second rather than ten until a link counts as dead."""
    monkeypatch.setattr("edgewright.profiler.transports.adb_stream.SILENCE_S", 0.5)
    monkeypatch.setattr("edgewright.profiler.transports.adb.LIFE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("edgewright.profiler.transports.adb_link.OPEN_TIMEOUT_S", 3.0)


@pytest.mark.usefixtures("impatient")
def test_a_silent_command_on_a_live_link_goes_on(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "sleep 2; echo out"]).stdout == "out\n"


@pytest.mark.usefixtures("impatient")
def test_a_copy_that_stands_still_on_a_live_link_ends(
    transport: Transport, phone: AdbPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the phone's storage hangs."""
    monkeypatch.setattr("edgewright.profiler.transports.shell_copy.STALL_TIMEOUT_S", 1.5)
    source = tmp_path / "source"
    source.write_bytes(MEGABYTE * 40)

    def freeze(done: int, size: int) -> None:
        if size // 2 < done < size // 2 + 200_000:
            phone.signal(signal.SIGSTOP, "cat")

    try:
        with pytest.raises(DeviceTimeout, match=r"nothing moved for 1\.5 s"):
            transport.push(source, f"{PLACE}/model", freeze)
    finally:
        phone.signal(signal.SIGCONT, "cat")
    wait_until_quiet(phone)
    assert os.listdir(phone.home) == []


@pytest.mark.usefixtures("impatient")
def test_a_job_outlives_the_link_and_a_command_does_not(
    transport: Transport, phone: AdbPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells the phone that the link is gone: its own clock ends the command."""
    monkeypatch.setattr("edgewright.profiler.transports.adb.DEVICE_GRACE_S", 1)
    job = f"sleep 4; echo done > {PLACE}/result"
    transport.run(["sh", "-c", f"setsid sh -c '{job}' >/dev/null 2>&1 </dev/null &"])

    def cut_soon() -> None:
        wait_until(lambda: "sleep 1001" in phone.processes())
        phone.cut_link()

    cutting = threading.Thread(target=cut_soon)
    cutting.start()
    try:
        with pytest.raises(Unreachable, match="the connection was lost") as caught:
            transport.run(["sh", "-c", FAMILY], timeout_s=7)
        assert caught.value.transient
        wait_until(lambda: (phone.home / "result").exists(), 20)
        wait_until_quiet(phone)
    finally:
        cutting.join()
        phone.restore_link()
    assert transport.run(["cat", f"{PLACE}/result"]).stdout == "done\n"


@pytest.mark.usefixtures("impatient")
def test_a_push_goes_on_where_the_link_was_cut(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    content = os.urandom(1_000_000) * 100
    source = tmp_path / "source"
    source.write_bytes(content)

    def cut(done: int, size: int) -> None:
        if size // 2 < done < size // 2 + 200_000:
            phone.cut_link()

    try:
        with pytest.raises(Unreachable, match="the connection was lost"):
            transport.push(source, f"{PLACE}/model", cut, resume=True)
    finally:
        phone.restore_link()
    steps: list[tuple[int, int]] = []
    transport.push(
        source, f"{PLACE}/model", lambda done, size: steps.append((done, size)), resume=True
    )
    assert steps[0][0] > 0 and steps[-1] == (100_000_000, 100_000_000)
    sha256 = hashlib.sha256(content).hexdigest()
    assert hashlib.sha256((phone.home / "model").read_bytes()).hexdigest() == sha256


@pytest.mark.usefixtures("impatient")
def test_a_link_cut_in_a_pull_leaves_the_target_as_it_was(
    transport: Transport, phone: AdbPhone, tmp_path: Path
) -> None:
    (phone.home / "model").write_bytes(MEGABYTE * 100)
    back = tmp_path / "back" / "model"

    def cut(done: int, size: int) -> None:
        if done > size // 2:
            phone.cut_link()

    try:
        with pytest.raises(Unreachable, match="the connection was lost"):
            transport.pull(f"{PLACE}/model", back, cut)
    finally:
        phone.restore_link()
    assert os.listdir(back.parent) == []
    transport.pull(f"{PLACE}/model", back)
    assert back.read_bytes() == MEGABYTE * 100


@pytest.mark.usefixtures("impatient")
def test_a_link_that_died_in_silence_is_noticed_at_the_next_call(
    transport: Transport, phone: AdbPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.run(["true"])
    monkeypatch.setattr("edgewright.profiler.transports.adb_server.CONNECT_TIMEOUT_S", 2.0)
    phone.cut_link()
    try:
        with pytest.raises(DeviceError) as caught:
            transport.run(["true"])
        assert caught.value.transient
    finally:
        phone.restore_link()
    assert transport.run(["echo", "again"]).stdout == "again\n"


def test_a_killed_server_is_started_again_by_the_next_call(
    adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = adb_phone()
    transport = open_transport(phone.address)
    assert transport.run(["echo", "one"]).stdout == "one\n"
    phone.server.stop()
    phone.server.start()
    assert transport.run(["echo", "two"]).stdout == "two\n"
