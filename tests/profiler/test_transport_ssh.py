"""Devices over SSH: commands, copies and lost connections, against real servers."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest
from devices.base import SshDevice
from devices.inprocess import start_inprocess
from devices.processes import wait_until
from devices.proxy import Proxy
from devices.sshd import SshdDevice, start_sshd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.errors import (
    DeviceError,
    DeviceTimeout,
    NoSpaceOnDevice,
    Unreachable,
    UsageError,
)
from edgewright.profiler.transports import Transport, open_transport

ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
WITH_FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture(
    params=[pytest.param(start_sshd, marks=pytest.mark.device), start_inprocess],
    ids=["sshd", "inprocess"],
)
def device(request: pytest.FixtureRequest) -> Iterator[SshDevice]:
    start: Callable[[], SshDevice] = request.param
    with start() as device:
        yield device


@pytest.fixture(autouse=True)
def nobody_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, configuration and agent."""
    home = tmp_path / "nobody"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("SSH_AUTH_SOCK", "EDGEWRIGHT_SSH_PASSWORD", "EDGEWRIGHT_SSH_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return home


@pytest.fixture
def transport(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    with opened(device, monkeypatch) as transport:
        yield transport


@contextmanager
def opened(device: SshDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    transport = open_transport(device.url)
    try:
        yield transport
    finally:
        transport.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


FAMILY = "echo $$ > pids; sleep 1000 & echo $! >> pids; wait"
"""A command with a child that writes down both its process ids and then takes very long."""


def wait_until_killed(device: SshDevice) -> None:
    pids = [int(pid) for pid in (Path(device.home) / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def unfinished(device: SshDevice) -> list[str]:
    return [path.name for path in Path(device.home).glob(".edgewright-*")]


# Commands


def test_a_command_has_an_exit_code_and_separate_outputs(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "cat; echo out; echo err >&2; exit 7"])
    assert (done.code, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_a_signal_is_reported_as_a_shell_does(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; kill -KILL $$"])
    assert (done.code, done.stdout, done.stderr) == (128 + 9, "out\n", "")


def test_a_missing_program_is_a_failed_command(transport: Transport) -> None:
    missing, forbidden = transport.run(["no-such-program"]), transport.run(["/etc/passwd"])
    assert (missing.code, forbidden.code) == (127, 126)
    assert "no-such-program" in missing.stderr


def test_commands_start_in_the_home_of_the_user(transport: Transport, device: SshDevice) -> None:
    assert transport.run(["pwd"]).stdout.strip() == device.home


def test_large_outputs_arrive_whole(transport: Transport) -> None:
    fill = "head -c 3000000 /dev/zero | tr '\\0' {}"
    done = transport.run(["sh", "-c", f"{fill.format('o')}; {fill.format('e')} >&2"])
    assert (done.stdout, done.stderr) == ("o" * 3_000_000, "e" * 3_000_000)


def test_output_that_is_not_text_is_kept_readable(transport: Transport) -> None:
    assert transport.run(["printf", "a\\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("command", [[], [""], "echo hi", ["echo", "a\0b"], ["echo", "\ud800"]])
def test_what_is_not_a_command_is_refused(command: list[str]) -> None:
    with pytest.raises(UsageError):
        open_transport("ssh://host.invalid").run(command)


def test_a_command_too_long_for_the_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="too long for a device"):
        open_transport("ssh://host.invalid").run(["echo", "x" * 200_000])


@settings(WITH_FIXTURE, max_examples=40)
@given(arguments=st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_arguments_arrive_unchanged(transport: Transport, arguments: list[str]) -> None:
    done = transport.run(["printf", "%s\\0", *arguments])
    assert (done.stderr, done.stdout.split("\0")[:-1]) == ("", arguments)


def test_arguments_reach_python_unchanged(transport: Transport, device: SshDevice) -> None:
    arguments = ["", " ", "a'b\"c", "$(touch pwned)", "`id`", "; id", "\\", "-n", "é\n*"]
    show = "import sys; print(ascii(sys.argv[1:]))"
    done = transport.run(["python3", "-c", show, *arguments])
    assert done.stdout.strip() == ascii(arguments)
    assert os.listdir(device.home) == []


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    transport: Transport, device: SshDevice
) -> None:
    started = time.monotonic()
    with pytest.raises(DeviceTimeout, match=r"did not end in 0.5 s; it was killed; .*'last'$"):
        transport.run(["sh", "-c", f"echo last >&2; {FAMILY}"], timeout_s=0.5)
    assert time.monotonic() - started < 5
    wait_until_killed(device)
    assert transport.run(["echo", "still here"]).stdout == "still here\n"


def test_an_interrupted_command_is_killed(transport: Transport, device: SshDevice) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupt_soon() -> None:
        wait_until(lambda: (Path(device.home) / "pids").exists())
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=interrupt_soon, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            transport.run(["sh", "-c", FAMILY])
    finally:
        signal.signal(signal.SIGUSR1, before)
    wait_until_killed(device)


@pytest.mark.device
def test_bytes_that_are_not_text_arrive_unchanged(
    real_sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(real_sshd_device, monkeypatch) as transport:
        done = transport.run(["python3", "-c", "import sys; print(ascii(sys.argv[1]))", "a\udcff"])
        assert done.stdout == "'a\\udcff'\n"


@pytest.mark.device
def test_a_child_in_the_background_does_not_hold_the_answer_back(
    real_sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(real_sshd_device, monkeypatch) as transport:
        started = time.monotonic()
        assert transport.run(["sh", "-c", "sleep 20 & echo out"]).stdout == "out\n"
        assert time.monotonic() - started < 10


# Copies


def test_20_megabytes_go_there_and_back(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    content = os.urandom(20_000_000)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    steps: list[tuple[int, int]] = []
    transport.push(source, "model.bin", lambda done, size: steps.append((done, size)))
    assert steps[0] == (0, 20_000_000) and steps[-1] == (20_000_000, 20_000_000)
    assert steps == sorted(steps)
    sha256 = hashlib.sha256(content).hexdigest()
    assert transport.run(["sha256sum", "model.bin"]).stdout.split()[0] == sha256
    steps.clear()
    transport.pull("model.bin", back, lambda done, size: steps.append((done, size)))
    assert steps[0] == (0, 20_000_000) and steps[-1] == (20_000_000, 20_000_000)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == sha256
    assert os.listdir(device.home) == ["model.bin"]


@pytest.mark.device
def test_keys_are_exchanged_anew_in_a_long_copy(
    real_sshd_device: SshdDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = real_sshd_device
    device.listener.config.write_text(
        device.listener.config.read_text().replace("LogLevel VERBOSE", "LogLevel DEBUG1")
    )
    device.restart()
    monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 2**20)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(MEGABYTE * 10)
    with opened(device, monkeypatch) as transport:
        transport.push(source, "model")
        transport.pull("model", back)
    assert back.read_bytes() == source.read_bytes()
    assert device.files.log.read_text().count("SSH2_MSG_NEWKEYS received") > 3


def test_an_empty_file_goes_there_and_back(transport: Transport, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.touch()
    steps: list[tuple[int, int]] = []
    transport.push(source, "empty", lambda done, size: steps.append((done, size)))
    transport.pull("empty", back, lambda done, size: steps.append((done, size)))
    assert steps == [(0, 0), (0, 0)]
    assert back.read_bytes() == b""


@settings(WITH_FIXTURE, max_examples=15)
@given(name=ANY_TEXT.filter(lambda name: name not in ("", ".", "..") and "/" not in name))
def test_paths_are_used_as_given(
    transport: Transport, device: SshDevice, tmp_path: Path, name: str
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(name.encode())
    transport.push(source, name)
    transport.pull(name, back)
    assert back.read_bytes() == name.encode()
    (Path(device.home) / name).unlink()
    assert os.listdir(device.home) == []


def test_a_copy_has_the_mode_asked_for(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"program")
    for resume in (False, True):
        target = Path(device.home) / f"target-{resume}"
        transport.push(source, target.name, resume=resume)
        assert target.stat().st_mode & 0o777 == 0o600
        transport.push(source, target.name, mode=0o755, resume=resume)
        assert target.stat().st_mode & 0o777 == 0o755


def test_a_resumed_copy_sends_the_rest_alone(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    content = os.urandom(2_000_000)
    source, target = tmp_path / "source", Path(device.home) / "model"
    source.write_bytes(content)
    steps: list[tuple[int, int]] = []

    def note(done: int, size: int) -> None:
        steps.append((done, size))

    for there, begins in (
        (0, 0),
        (65536 + 7, 65536),  # in whole blocks
        (len(content), len(content)),
        (len(content) + 1, 0),  # longer than it can be
    ):
        target.write_bytes((content + bytes(1))[:there])
        steps.clear()
        transport.push(source, "model", note, resume=True)
        assert steps[0] == (begins, len(content)) and steps[-1] == (len(content), len(content))
        assert target.read_bytes() == content
    assert os.listdir(device.home) == ["model"]
    with pytest.raises(DeviceError, match=r"can't write no/there: no such"):
        transport.push(source, "no/there", resume=True)
    with pytest.raises(DeviceError, match="it is a directory"):
        transport.push(source, device.home, resume=True)
    with pytest.raises(DeviceError, match="not a regular file"):
        transport.push(source, "/dev/null", resume=True)


@pytest.mark.device
def test_no_sftp_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_sshd() as device, opened(device, monkeypatch) as transport:
        config = device.listener.config
        lines = config.read_text().splitlines()
        without = [line for line in lines if not line.startswith("Subsystem")]
        assert len(without) < len(lines)
        config.write_text("\n".join(without) + "\n")
        device.restart()
        source, back = tmp_path / "source", tmp_path / "back"
        source.write_bytes(MEGABYTE)
        transport.push(source, "there")
        transport.pull("there", back)
        assert back.read_bytes() == MEGABYTE


def test_a_copy_that_can_not_be_is_explained(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(MEGABYTE)
    with pytest.raises(UsageError, match=r"missing .*does not exist"):
        transport.push(tmp_path / "missing", "there")
    with pytest.raises(DeviceError, match=r"can't write no/there: no such"):
        transport.push(source, "no/there")
    with pytest.raises(DeviceError, match="it is a directory"):
        transport.push(source, device.home)
    with pytest.raises(DeviceError, match="can't write /sys/there: permission denied"):
        transport.push(source, "/sys/there")
    with pytest.raises(DeviceError, match=r"can't read missing: no such file"):
        transport.pull("missing", tmp_path / "back")
    with pytest.raises(DeviceError, match="it is a directory"):
        transport.pull(device.home, tmp_path / "back")
    with pytest.raises(DeviceError, match="not a regular file"):
        transport.pull("/dev/zero", tmp_path / "back")
    with pytest.raises(UsageError, match="can't write"):
        transport.pull("/etc/passwd", source / "back")
    assert os.listdir(device.home) == []
    assert not (tmp_path / "back").exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root: that a full disk is named is NOT TESTED")
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount_point)],
        capture_output=True,
        text=True,
    )
    if mounting.returncode != 0:
        pytest.skip(f"no disk can be mounted here, a full disk is NOT TESTED: {mounting.stderr}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "-l", str(mount_point)], check=True)


@pytest.mark.parametrize(
    "start", [pytest.param(start_sshd, marks=pytest.mark.device), start_inprocess, None]
)
def test_a_full_disk_is_named(
    start: Callable[[], SshDevice] | None,
    full_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "source"
    source.write_bytes(MEGABYTE * 8)
    target = full_disk / "model"
    target.write_text("before")

    def check(transport: Transport) -> None:
        with pytest.raises(NoSpaceOnDevice, match=r"can't write .*/model: no space left") as caught:
            transport.push(source, str(target))
        assert caught.value.hint and not caught.value.transient
        assert os.listdir(full_disk) == ["model"]
        assert target.read_text() == "before"
        rest = full_disk / "rest"
        with pytest.raises(NoSpaceOnDevice, match=r"can't write .*/rest: no space left"):
            transport.push(source, str(rest), resume=True)
        assert rest.stat().st_size > 0
        rest.unlink()

    if start is None:
        check(open_transport("local"))
    else:
        with start() as device, opened(device, monkeypatch) as transport:
            check(transport)


def test_an_interrupted_copy_leaves_the_target_as_it_was(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(MEGABYTE * 8)
    back.write_text("before")
    (Path(device.home) / "model").write_text("before")

    def interrupt(done: int, size: int) -> None:
        if done > size // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transport.push(source, "model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transport.pull(str(source), back, interrupt)
    assert back.read_text() == "before"
    wait_until(lambda: unfinished(device) == [])
    assert transport.run(["cat", "model"]).stdout == "before"
    assert not list(tmp_path.glob(".*"))


# Lost connections


def test_a_connection_lost_in_a_command(transport: Transport, device: SshDevice) -> None:
    transport.run(["true"])

    def drop_soon() -> None:
        wait_until(lambda: (Path(device.home) / "pids").exists())
        time.sleep(0.1)
        device.drop_connections()

    dropping = threading.Thread(target=drop_soon)
    dropping.start()
    started = time.monotonic()
    with pytest.raises(Unreachable, match="the connection was lost") as caught:
        transport.run(["sh", "-c", FAMILY])
    dropping.join()
    assert caught.value.transient
    assert time.monotonic() - started < 10
    wait_until_killed(device)
    assert transport.run(["echo", "again"]).stdout == "again\n"


def test_a_connection_lost_while_nothing_happens(transport: Transport, device: SshDevice) -> None:
    transport.run(["true"])
    device.stop()
    with pytest.raises(Unreachable):
        transport.run(["true"])
    device.start()
    assert transport.run(["echo", "again"]).stdout == "again\n"


def test_a_connection_lost_in_a_push(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(MEGABYTE * 20)
    (Path(device.home) / "model").write_text("before")

    def drop(done: int, size: int) -> None:
        if size // 2 < done < size // 2 + 200_000:
            device.drop_connections()

    with pytest.raises(Unreachable, match="the connection was lost"):
        transport.push(source, "model", drop)
    wait_until(lambda: unfinished(device) == [])
    assert (Path(device.home) / "model").read_text() == "before"
    transport.push(source, "model")
    assert (Path(device.home) / "model").read_bytes() == MEGABYTE * 20


def test_a_connection_lost_in_a_resumable_push(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    content = os.urandom(20_000_000)
    source, target = tmp_path / "source", Path(device.home) / "model"
    source.write_bytes(content)
    steps: list[int] = []

    def drop(done: int, size: int) -> None:
        if size // 2 < done < size // 2 + 200_000:
            device.drop_connections()

    with pytest.raises(Unreachable, match="the connection was lost"):
        transport.push(source, "model", drop, resume=True)
    assert target.stat().st_size > 0
    transport.push(source, "model", lambda done, size: steps.append(done), resume=True)
    assert 0 < steps[0] <= target.stat().st_size
    assert target.read_bytes() == content


def test_a_connection_lost_in_a_pull(
    transport: Transport, device: SshDevice, tmp_path: Path
) -> None:
    (Path(device.home) / "model").write_bytes(MEGABYTE * 20)
    back = tmp_path / "back" / "model"

    def drop(done: int, size: int) -> None:
        if size // 2 < done < size // 2 + 200_000:
            device.drop_connections()

    with pytest.raises(Unreachable, match="the connection was lost"):
        transport.pull("model", back, drop)
    assert os.listdir(back.parent) == []
    transport.pull("model", back)
    assert back.read_bytes() == MEGABYTE * 20


def test_a_closed_transport_connects_again(transport: Transport) -> None:
    transport.run(["true"])
    transport.close()
    transport.close()
    assert transport.run(["echo", "again"]).stdout == "again\n"


@pytest.mark.parametrize("what", ["run", "push", "pull"])
def test_a_dead_link_is_noticed(
    what: str, sshd_device: SshDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = sshd_device
    cable = Proxy(device.port)
    config = tmp_path / "config"
    config.write_text(
        f"HostKeyAlias [{device.host}]:{device.port}\nServerAliveInterval 1\n"
        f"ServerAliveCountMax 2\n{device.ssh_config_path.read_text()}"
    )
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(config))
    (Path(device.home) / "model").write_bytes(MEGABYTE * 30)
    transport = open_transport(f"ssh://{device.user}@{device.host}:{cable.port}")

    def cut(done: int, size: int) -> None:
        if done > size // 2:
            cable.silence()

    try:
        if what == "run":
            transport.run(["sleep", "3"])  # silent for longer than the limit, but alive
        started = time.monotonic()
        with pytest.raises(Unreachable, match="the device has been silent for 2 s"):
            if what == "run":
                threading.Timer(0.3, cable.silence).start()
                transport.run(["sleep", "30"])
            elif what == "push":
                transport.push(Path(device.home) / "model", "copy", cut)
            else:
                transport.pull("model", tmp_path / "model", cut)
        assert time.monotonic() - started < 6
    finally:
        transport.close()
        cable.close()
