"""What goes wrong on devices, really done: each ends in one clear error and leaves nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from agent_file import agent_file
from devices.arm64 import Arm64Factory
from devices.processes import wait_until
from devices.sshd import SshdDevice
from leftovers import begin, nothing_is_left, processes_of
from onnx import TensorProto, helper
from small_models import LONG, SECONDS, SHORT, matmul, measured

from edgewright.errors import (
    AgentFailed,
    DeviceBusy,
    DeviceError,
    DeviceTimeout,
    EdgewrightError,
    NoSpaceOnDevice,
)
from edgewright.profiler import deploy
from edgewright.profiler.agent import jobs
from edgewright.profiler.cleaning import clean, look
from edgewright.profiler.deploy import install_agent
from edgewright.profiler.job import MeasureSettings, ProgressEvent, Sampling
from edgewright.profiler.measure import measure
from edgewright.profiler.result import FailedRun, Run
from edgewright.profiler.transports.local import LocalTransport
from edgewright.profiler.transports.ssh import SshTransport


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """The directory on the 'device'."""
    directory = tmp_path / "device"
    yield directory
    for process in processes_of(directory):
        os.kill(process, signal.SIGKILL)


def settings(base: Path, sampling: Sampling = SHORT, **more: object) -> MeasureSettings:
    plain = MeasureSettings(base=str(base), sampling=sampling, poll_s=0.1, quiet_s=1, deadline_s=60)
    return replace(plain, **more)  # type: ignore[arg-type]


def workers(base: Path) -> list[int]:
    """Processes with a model in them."""
    return [
        pid
        for pid in processes_of(base)
        if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0worker\0")
    ]


def when(phase: str, action: Callable[[], None]) -> Callable[[ProgressEvent], None]:
    """Does something once, when a measurement has come to a phase."""
    done = False

    def listen(event: ProgressEvent) -> None:
        nonlocal done
        if event.phase == phase and not done:
            done = True
            action()

    return listen


# Inference that hangs


def forever(path: Path) -> Path:
    """A loop whose condition never becomes false."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["state"], ["same"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 16, 16]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 16, 16]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        "forever",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 16])],
        [helper.make_tensor("true", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_a_model_that_never_returns(base: Path, tmp_path: Path) -> None:
    models = [
        measured(forever(tmp_path / "forever.onnx"), check=False),
        measured(matmul(tmp_path / "m.onnx")),
    ]
    failed, other = measure(LocalTransport(), models, settings(base, load_limit_s=3))
    assert isinstance(failed, FailedRun) and isinstance(other, Run)
    assert failed.error == "DeviceTimeout" and failed.phase == "first inference"
    assert "(first inference): no answer in 3 s, the limit of this phase" in failed.message
    assert "never returns" in str(failed.hint)
    with pytest.raises(DeviceTimeout, match="forever failed on local"):
        measure(LocalTransport(), models[:1], settings(base, load_limit_s=1))
    nothing_is_left(base)


@pytest.mark.device
def test_a_model_that_never_returns_on_a_board(
    arm64_device: Arm64Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = arm64_device("modern", home_size_mb=32)
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
    transport = SshTransport(board.url)
    model = measured(forever(tmp_path / "forever.onnx"), check=False)
    asked = MeasureSettings(sampling=TINY, load_limit_s=40, poll_s=0.2)
    with pytest.raises(DeviceTimeout, match=r"\(first inference\): no answer in 40 s"):
        measure(transport, [model], asked)
    left = look(transport)
    assert left.processes == () and left.size_bytes > 0
    assert list((board.root / f"{left.directory[1:]}/runs").iterdir()) == []
    waste = fill(board.root / board.home[1:])
    with pytest.raises(NoSpaceOnDevice):
        measure(transport, [measured(matmul(tmp_path / "m.onnx"))], asked)
    waste.unlink()
    assert clean(transport).kept == ()
    assert not (board.root / left.directory[1:]).exists()
    transport.close()


def test_a_process_that_stands_still_while_it_is_measured(base: Path, tmp_path: Path) -> None:
    def freeze() -> None:
        os.kill(min(workers(base)), signal.SIGSTOP)

    with pytest.raises(DeviceTimeout, match=r"\(measure\): no answer in 2[.\d]* s"):
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, LONG, inference_limit_s=2),
            when("measure", freeze),
        )
    nothing_is_left(base)


def test_a_runtime_that_is_never_ready(base: Path, tmp_path: Path) -> None:
    python = with_modules(tmp_path, onnxruntime="while True: pass\n")
    with pytest.raises(DeviceTimeout, match=r"\(load\): no answer in 2 s"):
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, load_limit_s=2, python=python),
        )
    nothing_is_left(base)


def with_modules(tmp_path: Path, **modules: str) -> str:
    """A Python to which these modules come before those that are installed."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    return str(launcher)


def test_a_worker_ends_itself_where_nobody_else_does(tmp_path: Path) -> None:
    """Its conductor may stand still: the kernel ends it by the worker's own timer."""
    model = measured(forever(tmp_path / "forever.onnx"), check=False)
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, i0_0=model.inputs[0][0])
    (tmp_path / "stderr").touch()
    load: dict[str, Any] = {
        "command": "load",
        "limit_s": 60,
        "cpus": None,
        "cluster_counts": None,
        "inputs_path": str(inputs),
        "input_count": 1,
        "path": str(model.path),
        "runtime": "onnxruntime",
        "threads": 1,
        "stderr_path": str(tmp_path / "stderr"),
        "spawned_s": time.monotonic(),
    }
    with subprocess.Popen(
        [sys.executable, agent_file(), "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin and worker.stdout
        print(json.dumps(load), file=worker.stdin, flush=True)
        assert "load_ms" in worker.stdout.readline()
        first = {"command": "first", "limit_s": 1 - 15}
        print(json.dumps(first), file=worker.stdin, flush=True)
        assert worker.wait(10) == -signal.SIGALRM


def test_a_conductor_that_dies_takes_a_hanging_worker_along(base: Path, tmp_path: Path) -> None:
    agent = install_agent(LocalTransport(), base=str(base))
    model = measured(forever(tmp_path / "forever.onnx"), check=False)
    directory = begin(agent, model, {})
    progress = directory / "progress.jsonl"
    wait_until(lambda: progress.exists() and "load" in progress.read_text(), 20)
    wait_until(lambda: bool(workers(base)))
    os.kill(json.loads((directory / "pid").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not processes_of(base))
    assert agent.ask("poll", str(directory))["state"] == "stale"


# A model that crashes the runtime

CRASH = """
import ctypes, mmap, os, sys
sys.path.pop(0)
del sys.modules["onnxruntime"]
import onnxruntime as real
sys.modules["onnxruntime"] = real
class InferenceSession(real.InferenceSession):
    def get_inputs(self):
        print("about to crash", file=sys.stderr, flush=True)
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(INSTRUCTION)
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        ctypes.CFUNCTYPE(None)(address)()
real.InferenceSession = InferenceSession
"""
#: x86-64: ud2; mov [0], eax. Elsewhere the first word is undefined on ARM, too.
ILLEGAL, BAD_ADDRESS = b"\x0f\x0b\x00\x00", b"\x89\x04\x25\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("instruction", "name", "hint"),
    [(ILLEGAL, "SIGILL", "made for a newer CPU"), (BAD_ADDRESS, "SIGSEGV", "another runtime")],
)
def test_a_crash_is_told_by_its_signal(
    base: Path, tmp_path: Path, instruction: bytes, name: str, hint: str
) -> None:
    python = with_modules(tmp_path, onnxruntime=f"INSTRUCTION = {instruction!r}\n{CRASH}")
    with pytest.raises(AgentFailed) as raised:
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, python=python),
        )
    assert f"the process was ended by {name}" in raised.value.message
    assert "(load)" in raised.value.message
    assert "about to crash\n    Fatal Python error: " in raised.value.message
    assert "in get_inputs" in raised.value.message, "where it crashed"
    assert hint in str(raised.value.hint)
    nothing_is_left(base)


def test_an_abort_of_one_model_lets_the_others_go_on(base: Path, tmp_path: Path) -> None:
    models = [
        measured(matmul(tmp_path / "a.onnx")),
        measured(matmul(tmp_path / "b.onnx", 1)),
    ]
    failed, other = measure(
        LocalTransport(),
        models,
        settings(base, SECONDS),
        when("measure", lambda: os.kill(min(workers(base)), signal.SIGABRT)),
    )
    assert isinstance(failed, FailedRun) and isinstance(other, Run)
    assert failed.phase == "measure" and "SIGABRT" in failed.message
    nothing_is_left(base)


# Disks


def mounted(directory: Path, options: str) -> Iterator[Path]:
    directory.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"can't mount: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "size=8m")


@pytest.fixture
def noexec_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "noexec", "size=64m,noexec")


def fill(disk: Path, leave: int = 0) -> Path:
    """Fills a disk but for some bytes."""
    waste = disk / "waste"
    with waste.open("wb") as handle:
        seen = os.statvfs(disk)
        os.posix_fallocate(handle.fileno(), 0, max(1, seen.f_bavail * seen.f_frsize - leave))
    return waste


def test_a_disk_that_is_full_before(small_disk: Path, tmp_path: Path) -> None:
    base = small_disk / "base"
    waste = fill(small_disk)
    with pytest.raises(NoSpaceOnDevice) as raised:
        measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], settings(base))
    assert "no space left" in raised.value.message.lower() and raised.value.hint
    waste.unlink()
    if base.exists():
        nothing_is_left(base)


def test_a_disk_that_runs_full_while_it_is_measured(small_disk: Path, tmp_path: Path) -> None:
    base = small_disk / "base"
    with pytest.raises(NoSpaceOnDevice) as raised:
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, replace(SECONDS, seconds=4)),
            when("measure", lambda: [fill(small_disk), None][1]),
        )
    assert raised.value.hint == "make room on the device's disk"
    (small_disk / "waste").unlink()
    nothing_is_left(base)


def test_a_directory_that_can_only_be_read(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(DeviceError, match="Read-only file system") as raised:
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(small_disk / "base"),
        )
    assert "EDGEWRIGHT_DEVICE_DIR" in str(raised.value.hint)
    assert not (small_disk / "base").exists()


def test_a_directory_from_which_no_program_runs(noexec_disk: Path, tmp_path: Path) -> None:
    """The agent is read by the device's own Python: it needs no right to be executed."""
    base = noexec_disk / "base"
    script = noexec_disk / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with pytest.raises(PermissionError):
        subprocess.run([script])
    [run] = measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], settings(base))
    assert isinstance(run, Run) and run.correctness.status == "passed"
    nothing_is_left(base)


# Two hosts, and hosts that vanish

HOST = """
import platform, sys
from pathlib import Path
platform.node = lambda: sys.argv[4]
import small_models
from edgewright.profiler.job import MeasureSettings
from edgewright.profiler.measure import measure
from edgewright.profiler.transports.local import LocalTransport
path, base, sampling, _, busy = sys.argv[1:]
settings = MeasureSettings(
    base=base, sampling=getattr(small_models, sampling), poll_s=0.1, deadline_s=20,
    busy_s=float(busy),
)
def tell(event):
    print(event.phase, event.message, flush=True)
model = small_models.measured(Path(path))
print("ready", flush=True)
sys.stdin.readline()
[run] = measure(LocalTransport(), [model], settings, tell)
print("result", run.correctness.status, flush=True)
"""


def host(
    path: Path, base: Path, sampling: str, name: str, busy_s: float = 60, waits: bool = False
) -> Any:
    """Another process that measures, on a host of this name; one that waits begins when told."""
    import edgewright

    package = str(Path(str(edgewright.__path__[0])).parent)
    return subprocess.Popen(
        [sys.executable, "-c", HOST, path, base, sampling, name, str(busy_s)],
        stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), package]),
        },
    )


def wait_for_line(process: Any, beginning: str) -> str:
    for line in process.stdout:
        if line.startswith(beginning):
            return str(line)
    raise AssertionError(process.stderr.read())


def begin_measuring(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_hosts_at_once(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    # Starting Python takes longer on a busy machine than alpha measures: the others start first.
    with (
        host(path, base, "SHORT", "gamma", busy_s=0, waits=True) as refused,
        host(path, base, "SECONDS", "beta", waits=True) as second,
    ):
        for process in (refused, second):
            wait_for_line(process, "ready")
        with host(path, base, "SECONDS", "alpha") as first:
            wait_for_line(first, "measure")
            begin_measuring(refused)
            begin_measuring(second)
            told = wait_for_line(second, "connect local is busy")
            assert "@alpha (process" in told and "waiting up to 60 s" in told
            _, said = refused.communicate(timeout=30)
            assert refused.returncode != 0
            assert "@alpha (process" in said and "has been measuring m for" in said
            for process in (first, second):
                output, said = process.communicate(timeout=30)
                assert process.returncode == 0, said
                assert "result passed" in output
    nothing_is_left(base)


def test_a_host_that_is_killed_and_never_comes_back(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    with host(path, base, "SECONDS", "alpha") as lost:
        wait_for_line(lost, "measure")
        lost.kill()
    [directory] = (base / "runs").iterdir()
    wait_until(lambda: not processes_of(base), 20)
    assert (directory / "result.json").exists(), "it ended by itself"
    dead = base / "runs" / "dead"
    dead.mkdir()
    (dead / "job.json").write_text("{}")

    def age(folder: Path, seconds: float) -> None:
        pid = folder / "pid"
        if pid.exists():
            process = json.loads(pid.read_text())
            process["boot_s"] = time.clock_gettime(time.CLOCK_BOOTTIME) - seconds
            pid.write_text(json.dumps(process))
        for file in [*folder.iterdir(), folder]:
            os.utime(file, (time.time() - seconds,) * 2)

    age(directory, 6 * 86400)
    age(dead, 1800)
    other = measured(matmul(tmp_path / "other.onnx", 1))
    measure(LocalTransport(), [other], settings(base))
    assert directory.exists() and dead.exists(), "their hosts may still come back"
    age(directory, 8 * 86400)
    age(dead, 2 * 3600)
    measure(LocalTransport(), [other], settings(base))
    nothing_is_left(base)


def test_a_device_that_is_cleaned_meanwhile(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_DEVICE_DIR", str(base))
    with host(matmul(tmp_path / "m.onnx"), base, "LONG", "alpha") as process:
        wait_for_line(process, "measure")
        with pytest.raises(DeviceBusy, match="@alpha"):
            clean(LocalTransport())
        assert clean(LocalTransport(), force=True).processes
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "AgentFailed: local: the agent is gone: somebody has cleaned the device" in said
    assert not base.exists()


def test_an_endless_measurement_without_a_host_ends_at_its_deadline(
    base: Path, tmp_path: Path
) -> None:
    agent = install_agent(LocalTransport(), base=str(base))
    model = measured(forever(tmp_path / "forever.onnx"), check=False)
    directory = begin(agent, model, {}, deadline_s=3)
    wait_until(lambda: (directory / "result.json").exists(), 20)
    wait_until(lambda: not processes_of(base))
    assert "not done in 3 s" in (directory / "result.json").read_text()


def test_what_runs_is_never_swept(base: Path, tmp_path: Path) -> None:
    agent = install_agent(LocalTransport(), base=str(base))
    directory = begin(agent, measured(matmul(tmp_path / "m.onnx")), {})
    for file in [*directory.iterdir(), directory]:
        os.utime(file, (0, 0))
    jobs.sweep(str(base / "runs"))
    assert directory.exists() and processes_of(base)
    other = base / "runs" / "tool"
    other.mkdir()
    os.utime(other, (0, 0))
    jobs.sweep(str(base / "runs"))
    assert other.exists(), "whoever has the lock may work in it"
    jobs.stop(str(directory))
    jobs.sweep(str(base / "runs"))
    assert not other.exists()


# A device that answers garbage

NOT_PYTHON = {
    "says yes to all": "#!/bin/sh\necho yes\n",
    "says nothing": "#!/bin/sh\nexit 0\n",
    "is binary": "#!/bin/sh\nhead -c 300 /dev/urandom\n",
    "truncates": f'#!/bin/sh\n{sys.executable} "$@" | head -c 20\n',
    "greets": f'#!/bin/sh\necho Welcome!\nexec {sys.executable} "$@"\n',
    "says goodbye": f'#!/bin/sh\n{sys.executable} "$@"; echo Bye\n',
    "answers a list": "#!/bin/sh\necho '[1, 2]'\n",
    "answers wrong types": '#!/bin/sh\necho \'{"python": "three", "whole": 1}\'\n',
    "answers deep": "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' '['\n",
}


@pytest.mark.parametrize("script", NOT_PYTHON.values(), ids=NOT_PYTHON.keys())
def test_a_python3_that_is_none(base: Path, tmp_path: Path, script: str) -> None:
    python = tmp_path / "python3"
    python.write_text(script)
    python.chmod(0o755)
    with pytest.raises(AgentFailed, match="its answer makes no sense") as raised:
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, python=str(python)),
        )
    assert len(raised.value.message) < 400 and "python3" in str(raised.value.hint)
    if base.exists():
        nothing_is_left(base)


@pytest.mark.parametrize(
    "edit",
    [
        's/"runtimes": {[^}]*}/"runtimes": null/',
        's/"runtimes": {[^}]*}/"runtimes": {"onnxruntime": 1}/',
        's/"ram_bytes": [0-9]*/"ram_bytes": "much"/',
        's/"cpuinfo": "/"cpuinfo": 7, "x": "/',
        's/"missing": {[^}]*}/"missing": []/',
        's/"state": "absent"/"state": null, "holder": 3/',
        's/"state": "[a-z]*"/"stat": 1/',
        's/"arrived_bytes": 0/"arrived_bytes": "none"/',
        's/"kind": "[a-z]*"/"kin": 1/',
    ],
)
def test_an_agent_whose_answers_are_not_its_own(base: Path, tmp_path: Path, edit: str) -> None:
    """As on a device whose memory or disk is failing."""
    python = tmp_path / "python3"
    words = f'case "$*" in *" run "* | *" worker"*) exec {sys.executable} "$@" ;; esac'
    run = f'{sys.executable} "$@" > "$0.$$"; code=$?'
    tell = f"""sed '{edit}' "$0.$$"; rm "$0.$$"; exit $code"""
    python.write_text(f"#!/bin/sh\n{words}\n{run}\n{tell}\n")
    python.chmod(0o755)
    model = measured(matmul(tmp_path / "m.onnx"))
    asked = settings(base, TINY, python=str(python), busy_s=0)
    if "kind" in edit:
        base.mkdir()
        with (base / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(AgentFailed, match="its answer makes no sense"):
                measure(LocalTransport(), [model], asked)
        return
    with pytest.raises(AgentFailed, match="its answer makes no sense") as raised:
        measure(LocalTransport(), [model], asked)
    assert len(raised.value.message) < 400
    nothing_is_left(base)


@pytest.mark.device
def test_a_shell_that_greets(
    real_sshd_device: SshdDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `echo` in ~/.bashrc does, which Debian's bash reads for every command over SSH."""
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(real_sshd_device.ssh_config_path))
    session = real_sshd_device.files.directory / "session"
    session.write_text(session.read_text().replace('cd "$HOME"', 'echo Hello; cd "$HOME"'))
    transport = SshTransport(real_sshd_device.url)
    with pytest.raises(AgentFailed, match="its answer makes no sense") as raised:
        measure(transport, [measured(matmul(tmp_path / "m.onnx"))])
    transport.close()
    assert "Hello" in raised.value.message and "bashrc" in str(raised.value.hint)
    assert list(Path(real_sshd_device.home).rglob("*.part")) == []


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> Any:
        del document[key]
        return document

    return change


def _in_model(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    def change(document: dict[str, Any]) -> Any:
        document["models"][0].update(changes)
        return document

    return change


WRONG_RESULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda document: [document],
    "a number": lambda document: 7,
    "no models": lambda document: {**document, "models": []},
    "models are words": lambda document: {**document, "models": "none"},
    "no notes": _without("notes"),
    "in_turn is missing": _without("in_turn"),
    "an unknown status": _in_model(status="failed"),
    "an unknown error": _in_model(status="failed", error={"kind": "x", "message": 1}),
    "times are words": _in_model(blocks_ns=[["fast", "slow"]]),
    "times are negative": _in_model(blocks_ns=[[-5, -6]]),
    "times are null": _in_model(blocks_ns=None),
    "no version": _in_model(version=None),
    "memory is a list": _in_model(peak_rss_bytes=[1]),
    "conditions are words": _in_model(conditions=["hot"]),
    "cold starts are numbers": _in_model(cold_starts=[1]),
}


@pytest.mark.parametrize("change", WRONG_RESULTS.values(), ids=WRONG_RESULTS.keys())
def test_a_result_of_wrong_types(
    base: Path, tmp_path: Path, good_result: bytes, change: Callable[[dict[str, Any]], Any]
) -> None:
    text = json.dumps(change(json.loads(good_result))).encode()
    refuse_result(base, tmp_path, text)


@pytest.mark.parametrize("text", [b"", b"{", b"\x00\xff\xfe", b"null", b'{"models": NaN}'])
def test_a_result_that_is_none(base: Path, tmp_path: Path, text: bytes) -> None:
    refuse_result(base, tmp_path, text)


class Replacing(LocalTransport):
    """A device whose files are not what was written there."""

    def __init__(self, texts: dict[str, bytes]) -> None:
        self.texts = texts

    def pull(self, remote: str, local: Path, *arguments: Any) -> None:
        text = self.texts.get(Path(remote).name)
        if text is None:
            super().pull(remote, local, *arguments)
        else:
            local.write_bytes(text)


def refuse_result(base: Path, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(EdgewrightError) as raised:
        measure(
            Replacing({"result.json": text}),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, TINY),
        )
    assert isinstance(raised.value, AgentFailed), raised.value
    assert "its answer makes no sense (result.json)" in raised.value.message
    nothing_is_left(base)


TINY = replace(SHORT, queries=4, seconds=0.01, min_rounds=2, min_queries=2, cold_starts=1)


@pytest.fixture(scope="module")
def good_result(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real result.json."""
    folder = tmp_path_factory.mktemp("good")
    agent = install_agent(LocalTransport(), base=str(folder / "device"))
    directory = begin(agent, measured(matmul(folder / "m.onnx")), {}, sampling=TINY)
    wait_until(lambda: (directory / "result.json").exists(), 30)
    return (directory / "result.json").read_bytes()


@pytest.mark.parametrize("text", [b"no archive", b"PK\x03\x04 nearly"])
def test_outputs_that_are_none(base: Path, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(AgentFailed, match=r"makes no sense \(outputs-0.npz\)"):
        measure(
            Replacing({"outputs-0.npz": text}),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, TINY),
        )
    nothing_is_left(base)


@pytest.mark.parametrize("line", ["{}", "[]", "7", '{"phase": "tea"}', "nothing like JSON"])
def test_progress_that_is_none(base: Path, tmp_path: Path, line: str) -> None:
    def spoil() -> None:
        [directory] = (base / "runs").iterdir()
        with (directory / "progress.jsonl").open("a") as handle:
            handle.write(line + "\n")

    with pytest.raises(AgentFailed, match="its answer makes no sense"):
        measure(
            LocalTransport(),
            [measured(matmul(tmp_path / "m.onnx"))],
            settings(base, LONG),
            when("measure", spoil),
        )
    nothing_is_left(base)


@pytest.mark.parametrize(
    ("garbage", "told"),
    [
        (b"\xff\x00 who knows", "somebody has been measuring something"),
        (b'{"name": "a\\u001b[2J@b", "since": 0, "pid": 1, "models": ["m"]}', r"a\[2J@b \(proc"),
        (b'{"name": 5, "since": 0}', "its answer makes no sense"),
        (b'{"name": "a@b", "since": 0, "pid": 99999999999}', "its answer makes no sense"),
    ],
)
def test_a_lock_full_of_garbage_is_somebody_s(
    base: Path, tmp_path: Path, garbage: bytes, told: str
) -> None:
    base.mkdir()
    with (base / "lock").open("wb") as lock:
        lock.write(garbage)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeviceError, match=told) as raised:
            measure(
                LocalTransport(),
                [measured(matmul(tmp_path / "m.onnx"))],
                settings(base, busy_s=0),
            )
    assert isinstance(raised.value, DeviceBusy | AgentFailed)
    nothing_is_left(base)


def test_seen_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clirunner import Cli

    cli = Cli(monkeypatch, capsys)
    monkeypatch.setenv("EDGEWRIGHT_DEVICE_DIR", str(tmp_path / "base"))
    path = matmul(tmp_path / "m.onnx")
    # The agent's Python alone: the process that reads models on this host needs a real one.
    monkeypatch.setattr(deploy, "sys", SimpleNamespace(executable="/bin/echo"))
    cli.refuses("profile", path, code=3, saying="its answer makes no sense")
