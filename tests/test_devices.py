"""The test devices themselves, seen through paramiko: what other tests rely on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from devices import sshd
from devices.arm64 import HOME, MODEL, THERMAL_ZONE, THROTTLED, Arm64Factory
from devices.base import CommandResult, DeviceUnavailable, SshDevice
from devices.inprocess import InProcessDevice, start_inprocess
from devices.processes import all_processes, descendants, wait_until
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


def test_without_openssh_the_in_process_server_steps_in(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sshd() -> Path:
        raise DeviceUnavailable("no sshd here")

    monkeypatch.setattr(sshd, "find_sshd", no_sshd)
    device = request.getfixturevalue("sshd_device")
    assert isinstance(device, InProcessDevice)
    assert device.execute("exit 5").exit_code == 5


@pytest.mark.device
def test_openssh_reports_the_end_though_a_background_process_holds_the_output(
    real_sshd_device: SshdDevice,
) -> None:
    with real_sshd_device.connect() as client:
        started = time.monotonic()
        _, stdout, _ = client.exec_command("sleep 100 & exit 3")
        assert stdout.channel.recv_exit_status() == 3
        assert time.monotonic() - started < 50


@pytest.mark.device
def test_the_board_runs_arm64_programs_and_looks_like_a_raspberry_pi(
    arm64_device: Arm64Factory,
) -> None:
    board = arm64_device(runtimes="none")
    look = "import platform, os; print(platform.machine(), platform.node(), os.cpu_count())"
    assert board.execute(f'python3 -c "{look}"') == (0, "aarch64 raspberrypi 4\n", "")
    assert board.execute("whoami; pwd; uname -m").stdout == f"pi\n{HOME}\naarch64\n"
    # Newer versions of qemu answer this themselves, and don't know the board's name.
    assert re.search(r"CPU part\s*: 0xd08\b", board.execute("cat /proc/cpuinfo").stdout)
    assert board.execute("cat /sys/firmware/devicetree/base/model").stdout == f"{MODEL}\0"
    frequencies = "cd /sys/devices/system/cpu/cpu0/cpufreq; cat scaling_{governor,cur_freq}"
    assert board.execute(frequencies).stdout == "ondemand\n1800000\n"


@pytest.mark.device
def test_the_board_tells_its_temperature_and_its_throttling(arm64_device: Arm64Factory) -> None:
    board = arm64_device(runtimes="none")
    assert board.execute(f"cat {THERMAL_ZONE}/type {THERMAL_ZONE}/temp").stdout == (
        "cpu-thermal\n48199\n"
    )
    ask = "vcgencmd measure_temp; vcgencmd get_throttled; vcgencmd measure_clock arm"
    assert board.execute(ask).stdout == ("temp=48.1'C\nthrottled=0x0\nfrequency(48)=1800000000\n")
    board.write(f"{THERMAL_ZONE}/temp", "84500\n")
    board.write(THROTTLED, "0x80008\n")
    assert board.execute(ask).stdout.startswith("temp=84.5'C\nthrottled=0x80008\n")
    assert board.execute(f"echo 1 > {THERMAL_ZONE}/temp").exit_code != 0


ONNXRUNTIME = "import onnxruntime"
LITERT = "import ai_edge_litert.interpreter"
TFLITE = "import tflite_runtime.interpreter"


def import_on(device: SshDevice, statement: str) -> CommandResult:
    return device.execute(f"python3 -c '{statement}'")


@pytest.mark.device
def test_the_modern_board_has_both_runtimes(arm64_device: Arm64Factory) -> None:
    board = arm64_device(runtimes="modern")
    assert import_on(board, f"{ONNXRUNTIME}; {LITERT}") == (0, "", "")
    assert "No module named" in import_on(board, TFLITE).stderr


@pytest.mark.device
def test_the_older_board_has_tflite_runtime_and_numpy_1(arm64_device: Arm64Factory) -> None:
    board = arm64_device(runtimes="tflite_runtime")
    version = import_on(board, f"{TFLITE}; import numpy; print(numpy.__version__)")
    assert (version.exit_code, version.stdout[:2]) == (0, "1.")
    assert "No module named" in import_on(board, ONNXRUNTIME).stderr
    assert "No module named" in import_on(board, LITERT).stderr


@pytest.mark.device
def test_bare_boards_have_no_runtime_or_no_python(arm64_device: Arm64Factory) -> None:
    for module in ("numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime"):
        assert "No module named" in import_on(arm64_device("none"), f"import {module}").stderr
    board = arm64_device("nopython")
    assert board.execute("command -v python3 python").stdout == ""
    assert board.execute("python3 -V").exit_code == 127


@pytest.mark.device
def test_a_small_home_runs_out_of_space(arm64_device: Arm64Factory, tmp_path: Path) -> None:
    board = arm64_device("none", home_size_mb=8)
    result = board.execute("head -c 9000000 /dev/zero > model.bin")
    assert result.exit_code != 0
    assert "No space left on device" in result.stderr
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(9_000_000))
    with board.connect() as client, client.open_sftp() as sftp, pytest.raises(OSError):
        sftp.put(str(model), "other.bin")
    assert board.execute("rm model.bin other.bin; echo fits > file && cat file").stdout == "fits\n"


@pytest.mark.device
def test_boards_share_nothing_that_is_written(arm64_device: Arm64Factory) -> None:
    one, other = arm64_device("none"), arm64_device("none")
    with one.connect() as client, client.open_sftp() as sftp:
        with sftp.open("here", "w") as file:
            file.write("one")
        assert sftp.normalize(".") == HOME
    assert one.execute("cat here; touch /tmp/there; ls /tmp").stdout == "onethere\n"
    assert other.execute("ls . /tmp").stdout == ".:\n\n/tmp:\n"


@pytest.mark.device
def test_a_board_loses_its_connections_and_keeps_its_jobs(arm64_device: Arm64Factory) -> None:
    board = arm64_device("none")
    with board.connect() as client:
        _, stdout, _ = client.exec_command(
            "setsid sh -c 'echo $$ > job; exec sleep 100' </dev/null >/dev/null 2>&1 & cat"
        )
        wait_until(lambda: board.execute("cat job").stdout != "")
        board.drop_connections()
        assert stdout.read() == b""
    board.restart()
    assert board.execute('kill "$(cat job)"').exit_code == 0
    # Killed orphans vanish, as under a real init.
    assert board.execute('sleep 0.5; kill -0 "$(cat job)"').exit_code != 0


@pytest.mark.device
def test_nothing_of_a_board_remains(arm64_device: Arm64Factory) -> None:
    board = arm64_device("none")
    assert board.execute("setsid sleep 1000 </dev/null >/dev/null 2>&1 & sleep 0.5").exit_code == 0
    on_board = descendants(board.machine.pid)
    assert len(on_board) > 1
    board.close()
    wait_until(lambda: not any(is_running(pid) for pid in on_board))
    assert not board.files.directory.exists()
    board.close()


@pytest.mark.parametrize(("required", "outcome"), [("0", "1 skipped"), ("1", "1 failed")])
def test_a_missing_device_skips_or_fails_with_the_reason(
    required: str, outcome: str, tmp_path: Path
) -> None:
    name = test_bare_boards_have_no_runtime_or_no_python.__name__
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::{name}"]
    settings = {"EDGEWRIGHT_TEST_CACHE": str(tmp_path), "EDGEWRIGHT_REQUIRE_DEVICES": required}
    said = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert outcome in said.stdout
    assert "device unavailable: " in said.stdout
