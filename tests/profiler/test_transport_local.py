"""This machine as a device."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from devices.processes import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DeviceError, DeviceTimeout, UsageError
from edgewright.profiler.transports import open_transport
from edgewright.profiler.transports.commands import SUPERVISED
from edgewright.profiler.transports.local import LocalTransport

ANY_ARGUMENT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@pytest.fixture
def local() -> LocalTransport:
    return LocalTransport()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_is_opened_by_its_name() -> None:
    transport = open_transport("local")
    assert isinstance(transport, LocalTransport)
    assert transport.address == "local"
    transport.close()
    transport.close()


def test_a_command_has_an_exit_code_and_separate_outputs(local: LocalTransport) -> None:
    done = local.run(["sh", "-c", "cat; echo out; echo err >&2; exit 7"])
    assert (done.code, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_a_signal_is_reported_as_a_shell_does(local: LocalTransport) -> None:
    assert local.run(["sh", "-c", "kill -TERM $$"]).code == 128 + 15


def test_a_missing_program_is_a_failed_command(local: LocalTransport) -> None:
    missing, forbidden = local.run(["no-such-program"]), local.run(["/etc/passwd"])
    assert (missing.code, forbidden.code) == (127, 126)
    assert "No such file" in missing.stderr and "ermission denied" in forbidden.stderr


@pytest.mark.parametrize("command", [[], [""], "echo hi", ["echo", "a\0b"], ["echo", "\ud800"]])
def test_what_is_not_a_command_is_refused(local: LocalTransport, command: list[str]) -> None:
    with pytest.raises(UsageError):
        local.run(command)


@settings(max_examples=50, deadline=None)
@given(st.lists(ANY_ARGUMENT, min_size=1, max_size=5))
def test_arguments_arrive_unchanged(arguments: list[str]) -> None:
    done = LocalTransport().run(["printf", "%s\\0", *arguments])
    assert done.stdout.split("\0")[:-1] == arguments


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    local: LocalTransport, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > '{pids}'; sleep 1000 & echo $! >> '{pids}'; wait"
    started = time.monotonic()
    with pytest.raises(DeviceTimeout, match=r"sh did not end in 0.3 s; it was killed") as caught:
        local.run(["sh", "-c", script], timeout_s=0.3)
    assert caught.value.transient
    assert time.monotonic() - started < 3
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 2
    wait_until(lambda: not any(is_running(pid) for pid in family))


def test_a_child_in_the_background_does_not_hold_the_answer_back(local: LocalTransport) -> None:
    started = time.monotonic()
    done = local.run(["sh", "-c", "sleep 5 & echo out"])
    assert done.stdout == "out\n"
    assert time.monotonic() - started < 3


def test_files_go_there_and_back(local: LocalTransport, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(content)
    steps: list[tuple[int, int]] = []
    local.push(source, str(there), lambda done, size: steps.append((done, size)))
    local.pull(str(there), back, lambda done, size: steps.append((done, size)))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert steps[0] == (0, len(content)) and steps[-1] == (len(content), len(content))
    assert {path.name for path in tmp_path.iterdir()} == {"source", "there", "back"}


def test_an_interrupted_copy_leaves_the_target_as_it_was(
    local: LocalTransport, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(1_000_000))
    target.write_text("before")

    def interrupt(done: int, size: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.push(source, str(target), interrupt)
    with pytest.raises(KeyboardInterrupt):
        local.pull(str(source), target, interrupt)
    assert target.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}


def test_a_copy_has_the_mode_asked_for(local: LocalTransport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"program")
    for resume in (False, True):
        target = tmp_path / f"target-{resume}"
        local.push(source, str(target), resume=resume)
        assert target.stat().st_mode & 0o777 == 0o600
        local.push(source, str(target), mode=0o755, resume=resume)
        assert target.stat().st_mode & 0o777 == 0o755


def test_a_resumed_copy_sends_the_rest_alone(local: LocalTransport, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = os.urandom(1_000_000)
    source.write_bytes(content)

    def interrupt(done: int, size: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.push(source, str(target), interrupt, resume=True)
    arrived = target.stat().st_size
    assert 0 < arrived < len(content)
    steps: list[tuple[int, int]] = []
    local.push(source, str(target), lambda done, size: steps.append((done, size)), resume=True)
    assert steps[0] == (arrived, len(content)) and steps[-1] == (len(content), len(content))
    assert target.read_bytes() == content
    target.write_bytes(bytes(2 * len(content)))  # longer than it can be: started anew
    local.push(source, str(target), resume=True)
    assert target.read_bytes() == content


def test_a_copy_that_can_not_be_is_explained(local: LocalTransport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"model")
    with pytest.raises(UsageError, match=r"missing .*does not exist"):
        local.push(tmp_path / "missing", str(tmp_path / "there"))
    with pytest.raises(UsageError, match="is not a file"):
        local.push(tmp_path, str(tmp_path / "there"))
    with pytest.raises(DeviceError, match=r"can't write .*/no/there: no such file or directory"):
        local.push(source, str(tmp_path / "no" / "there"))
    with pytest.raises(DeviceError, match="it is a directory"):
        local.push(source, str(tmp_path))
    with pytest.raises(DeviceError, match="a part of the path is not a directory"):
        local.push(source, str(source / "there"))
    with pytest.raises(DeviceError, match="can't write /sys/there: permission denied"):
        local.push(source, "/sys/there")
    with pytest.raises(DeviceError, match=r"can't read .*missing: no such file"):
        local.pull(str(tmp_path / "missing"), tmp_path / "back")
    with pytest.raises(DeviceError, match="it is a directory"):
        local.pull(str(tmp_path), tmp_path / "back")
    with pytest.raises(DeviceError, match="not a regular file"):
        local.pull("/dev/zero", tmp_path / "back")
    with pytest.raises(UsageError, match="can't write"):
        local.pull(str(source), source / "back")
    with pytest.raises(UsageError, match="the path on the device is empty"):
        local.push(source, "")


def test_without_setsid_the_supervisor_still_kills_the_command(tmp_path: Path) -> None:
    for program in ("sh", "sleep"):
        (tmp_path / program).symlink_to(f"/bin/{program}")
    command = ["sh", "-c", SUPERVISED, "edgewright", "sh", "-c", "echo $$; exec sleep 1000"]
    supervisor = subprocess.Popen(
        command, env={"PATH": str(tmp_path)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert supervisor.stdin and supervisor.stdout
    pid = int(supervisor.stdout.readline())
    assert is_running(pid)
    supervisor.stdin.close()
    assert supervisor.wait(10) == 128 + 9
    supervisor.stdout.close()
    assert not is_running(pid)
