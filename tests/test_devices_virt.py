"""The whole emulated board itself: what the tests of faults rely on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from devices import qmp
from devices.processes import all_processes, descendants, wait_until
from devices.virt import VirtFactory

pytestmark = [pytest.mark.device, pytest.mark.timeout(300)]


def test_a_whole_board_is_restarted_and_keeps_its_disk(virt_board: VirtFactory) -> None:
    board = virt_board(memory_mb=512)
    assert board.execute("whoami; uname -m; cat /proc/device-tree/model; pwd").stdout == (
        f"pi\naarch64\nlinux,dummy-virt\0{board.home}\n"
    )
    assert board.execute("whoami", user="root").stdout == "root\n"
    memory = board.execute("awk '/MemTotal/ { print $2 }' /proc/meminfo").stdout
    assert 400_000 < int(memory) < 512 * 1024
    started = "echo kept > kept; sync; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"
    assert board.execute(started).exit_code == 0
    for hard in (True, False):
        before = board.boot_id()
        board.reboot(hard=hard)
        assert board.boot_id() != before
        assert board.execute("cat kept; pgrep -x sleep").stdout == "kept\n"
    board.restart()
    assert board.execute("cat kept").stdout == "kept\n"


def test_its_clock_jumps_its_connections_drop_and_it_hangs(virt_board: VirtFactory) -> None:
    board = virt_board(memory_mb=512)
    look = "import time; print(time.time(), time.monotonic())"
    before = board.execute(f"python3 -c '{look}'").stdout.split()
    board.shift_clock(-7200)
    after = board.execute(f"python3 -c '{look}'").stdout.split()
    assert -7200 <= float(after[0]) - float(before[0]) < -7000
    assert 0 < float(after[1]) - float(before[1]) < 200
    with board.connect() as client:
        _, stdout, _ = client.exec_command("echo $$ > job; exec sleep 1000")
        wait_until(lambda: board.execute("cat job").stdout != "", every_s=0.2)
        board.drop_connections()
        assert stdout.read() == b""
    with board.hung(), socket.create_connection((board.host, board.port), 5) as probe:
        probe.settimeout(1)
        with pytest.raises(TimeoutError):
            probe.recv(4)
    assert qmp.ask(board.monitor, "query-status")["running"]
    with pytest.raises(RuntimeError, match="no-such-command"):
        qmp.ask(board.monitor, "no-such-command")
    board.close()
    assert not board.files.directory.exists()


def test_two_boards_share_nothing_that_is_written(virt_board: VirtFactory) -> None:
    one, other = virt_board(memory_mb=384), virt_board(memory_mb=384)
    one.execute("echo one > here")
    assert (one.execute("ls").stdout, other.execute("ls").stdout) == ("here\n", "")


START_AND_WAIT = """
import sys
from devices.virt import start_virt

with start_virt(memory_mb=384) as board:
    print(board.files.directory, flush=True)
    sys.stdin.read()
"""


def test_it_goes_when_the_tests_are_killed(tmp_path: Path) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT],
        cwd=Path(__file__).parent,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert tests.stdout is not None and tests.stdout.readline()
    below = descendants(tests.pid)
    assert len(below) >= 2
    tests.send_signal(signal.SIGKILL)
    tests.communicate()
    wait_until(lambda: not set(below) & set(all_processes()))
