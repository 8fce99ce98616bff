"""The test devices themselves, seen through paramiko: what other tests rely on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from devices.base import SshDevice
from devices.inprocess import InProcessDevice, start_inprocess
from devices.processes import all_processes, wait_until
from devices.sshd import SshdDevice, start_sshd


@pytest.fixture(
    params=[pytest.param(start_sshd, marks=pytest.mark.device), start_inprocess],
    ids=["sshd", "inprocess"],
)
def loopback(request: pytest.FixtureRequest) -> Iterator[SshDevice]:
    start: Callable[[], SshDevice] = request.param
    with start() as device:
        yield device


def test_commands_have_exit_codes_and_separate_outputs(loopback: SshDevice) -> None:
    result = loopback.execute("cat; echo trouble >&2; exit 7", stdin="hello")
    assert result == (7, "hello", "trouble\n")


def test_a_command_that_dies_of_a_signal_has_no_exit_code(loopback: SshDevice) -> None:
    assert loopback.execute("kill -KILL $$").exit_code == -1


def test_commands_and_files_start_in_the_same_home(loopback: SshDevice) -> None:
    with loopback.connect() as client, client.open_sftp() as sftp:
        with sftp.open("note.txt", "w") as note:
            note.write("from sftp")
        assert sftp.normalize(".") == loopback.home
        sftp.chmod("note.txt", 0o640)
    assert loopback.execute('pwd; echo "$HOME"; cat note.txt; stat -c %a note.txt').stdout == (
        f"{loopback.home}\n{loopback.home}\nfrom sftp640\n"
    )


def test_files_go_there_and_back(loopback: SshDevice, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    with loopback.connect() as client, client.open_sftp() as sftp:
        sftp.put(str(source), "model.bin")
        sftp.get("model.bin", str(back))
    assert back.read_bytes() == content
    assert loopback.execute("cat model.bin | wc -c").stdout.strip() == str(len(content))


def test_large_output_arrives_whole(loopback: SshDevice) -> None:
    result = loopback.execute("head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert len(result.stdout) == 5_000_000
    assert result.stderr == "end\n"


def test_python_on_the_device_is_the_one_of_the_tests(loopback: SshDevice) -> None:
    said = loopback.execute("python3 -c 'import sys, numpy; print(sys.prefix)'")
    assert (said.stdout, said.stderr) == (f"{sys.prefix}\n", "")


def test_a_stranger_is_refused(loopback: SshDevice) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(loopback.known_hosts_path))
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(
                loopback.host,
                loopback.port,
                loopback.user,
                pkey=paramiko.RSAKey.generate(2048),
                look_for_keys=False,
                allow_agent=False,
            )


def test_a_changed_host_key_is_seen(loopback: SshDevice) -> None:
    loopback.connect().close()
    loopback.change_host_key()
    with pytest.raises(paramiko.BadHostKeyException):
        loopback.connect()


def test_a_restart_keeps_the_port_and_the_files(loopback: SshDevice) -> None:
    assert loopback.execute("echo kept > file").exit_code == 0
    loopback.stop()
    with pytest.raises(OSError):
        loopback.connect()
    loopback.start()
    assert loopback.execute("cat file").stdout == "kept\n"


def test_a_dropped_connection_ends_the_session_but_not_detached_jobs(loopback: SshDevice) -> None:
    with loopback.connect() as client:
        _, stdout, _ = client.exec_command(
            "setsid sh -c 'echo $$ > job; sleep 1; echo done > result; sleep 100' "
            "</dev/null >/dev/null 2>&1 & cat"
        )
        wait_until(lambda: loopback.execute("cat job").stdout != "")
        loopback.drop_connections()
        assert stdout.read() == b""
        transport = client.get_transport()
        assert transport is not None
        wait_until(lambda: not transport.is_active())
    wait_until(lambda: loopback.execute("cat result").stdout == "done\n")
    assert loopback.execute('kill -0 "$(cat job)"').exit_code == 0


def test_nothing_is_left_behind(loopback: SshDevice) -> None:
    started = loopback.execute("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
    pid = int(started.stdout)
    assert pid in all_processes()
    loopback.close()
    wait_until(lambda: not is_running(pid))
    assert not loopback.files.directory.exists()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_in_process_device_takes_a_password(inprocess_device: InProcessDevice) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(inprocess_device.known_hosts_path))
        client.connect(
            inprocess_device.host,
            inprocess_device.port,
            inprocess_device.user,
            password=inprocess_device.password,
            look_for_keys=False,
            allow_agent=False,
        )
        assert client.get_transport() is not None


@pytest.mark.device
def test_openssh_reports_the_end_though_a_background_process_holds_the_output(
    real_sshd_device: SshdDevice,
) -> None:
    with real_sshd_device.connect() as client:
        started = time.monotonic()
        _, stdout, _ = client.exec_command("sleep 100 & exit 3")
        assert stdout.channel.recv_exit_status() == 3
        assert time.monotonic() - started < 50
