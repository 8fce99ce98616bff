"""Real crashes, hangs and allocations: each costs one error, and the next call works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.errors import DeviceBusy, EdgewrightError, UsageError
from edgewright.targets.sandbox import Sandbox, call

WHAT = "reading m.onnx"
LIMITED = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux keeps the limit")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def failure(sandbox: Sandbox, function: str, *arguments: object, **options: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        sandbox.call(function, *arguments, what=WHAT, **{"timeout_s": 20.0, **options})
    return caught.value


def pid(sandbox: Sandbox) -> int:
    number = sandbox.call("os:getpid", timeout_s=20.0, what=WHAT)
    assert isinstance(number, int)
    return number


def test_result_and_arguments_are_json() -> None:
    value = [None, True, 1, 2.5, "ü\ud800\n", {"a": []}]
    assert call("copy:copy", value, timeout_s=20.0, what=WHAT) == value


def test_one_process_serves_several_calls(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = pid(sandbox)
    with Sandbox() as other:
        assert first not in (os.getpid(), pid(other))
    assert pid(sandbox) == first
    monkeypatch.chdir(tmp_path)
    assert sandbox.call("os:getcwd", timeout_s=20.0, what=WHAT) == str(tmp_path)


def test_what_it_prints_is_dropped(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os; print('{}'); os.write(1, b'{}\\n'); os.write(2, b'x' * 200_000); input"
    assert sandbox.call("builtins:exec", code, timeout_s=20.0, what=WHAT) is None
    assert sandbox.call("builtins:print", "{}", timeout_s=20.0, what=WHAT) is None
    assert "EOFError" in failure(sandbox, "builtins:input").message
    assert capfd.readouterr() == ("", "")


def test_errors_of_ours_come_back_as_they_are(sandbox: Sandbox) -> None:
    code = "from edgewright.errors import DeviceBusy; raise DeviceBusy('taken', hint='wait')"
    with pytest.raises(DeviceBusy) as caught:
        sandbox.call("builtins:exec", code, timeout_s=20.0, what=WHAT)
    assert (caught.value.message, caught.value.hint) == ("taken", "wait")
    code = (
        "from edgewright.errors import UsageError\nclass Unknown(UsageError): pass\n"
        "raise Unknown('no')"
    )
    error = failure(sandbox, "builtins:exec", code)
    assert (type(error), error.message, error.hint) == (UsageError, "no", None)


def test_other_exceptions_are_told_with_their_trace_for_debug(sandbox: Sandbox) -> None:
    error = failure(sandbox, "builtins:int", "many")
    assert error.message == (
        "reading m.onnx failed (ValueError: invalid literal for int() with base 10: 'many')"
    )
    assert "Traceback" in error.__notes__[0]
    assert failure(sandbox, "sys:exit", 3).message == "reading m.onnx failed (SystemExit: 3)"
    assert "ValueError" in failure(sandbox, "builtins:float", "nan").message


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        ("ctypes:string_at", [0], "SIGSEGV"),
        ("os:abort", [], "SIGABRT"),
        ("signal:raise_signal", [int(signal.SIGBUS)], "SIGBUS"),
        ("signal:raise_signal", [40], "signal 40"),  # a realtime signal, which has no name
    ],
)
def test_a_crash_is_one_error(
    sandbox: Sandbox, function: str, arguments: list[int], name: str
) -> None:
    before = pid(sandbox)
    error = failure(sandbox, function, *arguments)
    assert error.message == f"reading m.onnx crashed ({name})"
    assert error.hint == "the file is damaged, or holds what this program can't handle"
    assert pid(sandbox) != before


def test_an_end_without_an_answer(sandbox: Sandbox) -> None:
    message = failure(sandbox, "os:_exit", 0).message
    assert message == "reading m.onnx ended without an answer (exit code 0)"


def test_a_hang_ends_with_all_that_it_started(sandbox: Sandbox, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, time\n"
        f"child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    error = failure(sandbox, "builtins:exec", code, timeout_s=2.0)
    assert error.message == "reading m.onnx took longer than 2 s"
    assert time.monotonic() - started < 5.0
    grandchild = int(note.read_text())
    deadline = time.monotonic() + 5.0
    while _runs(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(grandchild)


def _runs(number: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


@LIMITED
def test_memory_is_limited_call_by_call(sandbox: Sandbox) -> None:
    size = 1 << 30
    error = failure(sandbox, "builtins:bytes", size, memory_bytes=size // 2)
    assert error.message == "reading m.onnx needed more memory than 0.5 GB"
    code = f"bytes({size})"
    assert sandbox.call("builtins:exec", code, timeout_s=20.0, what=WHAT) is None


@LIMITED
def test_mapped_files_are_not_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as handle:
        handle.truncate(3 << 30)
    code = (
        "import mmap\n"
        f"with open({str(path)!r}, 'rb') as handle:\n"
        "    assert mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)[-1] == 0"
    )
    assert (
        sandbox.call("builtins:exec", code, timeout_s=20.0, memory_bytes=1 << 28, what=WHAT) is None
    )


def test_a_process_that_died_meanwhile_is_replaced(sandbox: Sandbox) -> None:
    before = pid(sandbox)
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while _runs(before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pid(sandbox) != before


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom edgewright.targets.sandbox import Sandbox\n"
        "print(Sandbox().call('os:getpid', timeout_s=20, what='x'), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    child = int(done.stdout)
    deadline = time.monotonic() + 5.0
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def test_every_error_of_the_tree_can_come_back() -> None:
    """The parent makes them from a message and a hint."""
    kinds = [EdgewrightError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind("m", hint="h").hint == "h"


def test_the_working_folder_may_be_gone(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert sandbox.call("math:sqrt", 4, timeout_s=20, what="counting") == 2
