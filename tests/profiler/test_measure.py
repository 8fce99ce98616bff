"""Whole measurements of real models on this machine, with everything that can go wrong."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices.inprocess import InProcessDevice
from devices.processes import wait_until
from small_models import (
    GOLDEN,
    LONG,
    SECONDS,
    SHORT,
    greedy,
    matmul,
    measured,
    out_of_range,
)

from edgewright.errors import (
    AgentFailed,
    DeviceBusy,
    DeviceError,
    DeviceOutOfMemory,
    NoSpaceOnDevice,
    RuntimeMissing,
    Unreachable,
    UsageError,
)
from edgewright.profiler.agent import jobs, processes
from edgewright.profiler.blobs import Blob, deploy
from edgewright.profiler.deploy import install_agent
from edgewright.profiler.job import MeasuredModel, MeasureSettings, ProgressEvent, Sampling
from edgewright.profiler.measure import measure
from edgewright.profiler.result import FailedRun, Run
from edgewright.profiler.stats import compare_runs, ratio_to
from edgewright.profiler.transports.base import Completed
from edgewright.profiler.transports.local import LocalTransport


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """The directory on the 'device'; whatever still runs there is ended."""
    directory = tmp_path / "device"
    yield directory
    for run in (directory / "runs").glob("*"):
        jobs.stop(str(run))


def settings(base: Path, sampling: Sampling = SHORT, **more: object) -> MeasureSettings:
    plain = MeasureSettings(base=str(base), sampling=sampling, poll_s=0.1, deadline_s=60)
    return replace(plain, **more)  # type: ignore[arg-type]


def only_run(results: Sequence[Run | FailedRun]) -> Run:
    [result] = results
    assert isinstance(result, Run)
    return result


class Watched(LocalTransport):
    """This machine, with a look at what is pushed and a hand on the line."""

    def __init__(self) -> None:
        self.pushed: list[str] = []
        self.before: Callable[[Sequence[str]], None] = lambda command: None
        self.closed = False

    def run(self, command: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        self.before(command)
        return super().run(command, timeout_s=timeout_s)

    def push(self, local: Path, remote: str, *arguments: Any, **options: Any) -> None:
        self.pushed.append(remote)
        super().push(local, remote, *arguments, **options)

    def close(self) -> None:
        self.closed = True

    @property
    def pushed_blobs(self) -> int:
        return sum("/blobs/" in path for path in self.pushed)


def test_float_and_quantized_in_turn(base: Path, tmp_path: Path) -> None:
    models = [
        measured(matmul(tmp_path / "m.onnx")),
        measured(GOLDEN / "tiny_float.tflite"),
        measured(GOLDEN / "tiny_int8.tflite"),
    ]
    events: list[ProgressEvent] = []
    runs = measure(LocalTransport(), models, settings(base, threads=2), events.append)
    for model, run in zip(models, runs, strict=True):
        assert isinstance(run, Run)
        assert run.model_name == model.name and run.model_sha256 == model.sha256
        assert run.correctness.status == "passed", run.correctness
        assert len(run.samples_ms) == sum(run.rounds) >= SHORT.min_queries
        assert len(run.rounds) >= SHORT.min_rounds
        assert len(run.warm_up_ms) >= SHORT.warm_up_queries + len(run.rounds)
        assert run.peak_rss_bytes is not None and run.peak_rss_bytes > 2**20
        assert run.latency_ms.p50 > 0
        assert run.runtime.threads == 2
        assert run.runtime.version not in ("", "unknown")
        assert run.device.address == "local" and run.device.hostname
        assert run.device.cpu and run.device.features
        assert {moment.taken for moment in run.conditions} == {"before", "during", "after"}
        assert Run.from_json(run.to_json()) == run
    assert isinstance(runs[1], Run) and isinstance(runs[2], Run)
    assert ratio_to(runs[1], runs[2]).pairs >= SHORT.min_rounds
    phases = [event.phase for event in events]
    assert phases[0] == "connect" and phases[-1] == "collect"
    assert {"push", "load", "warm-up", "measure"} <= set(phases)
    final = [event for event in events if event.phase == "measure"][-1]
    assert 0 < final.done <= final.total
    assert list((base / "runs").iterdir()) == [], "nothing of the measurement stays"


def test_models_that_had_to_follow_one_another_are_not_paired(base: Path, tmp_path: Path) -> None:
    model = replace(measured(matmul(tmp_path / "m.onnx")), size_bytes=2**50)
    one, two = measure(LocalTransport(), [model, replace(model, name="n")], settings(base))
    assert isinstance(one, Run) and isinstance(two, Run)
    assert one.measurement != two.measurement
    with pytest.raises(ValueError, match="different measurements"):
        ratio_to(one, two)
    assert compare_runs(one, two).method == "unpaired"
    assert all("one after another" in run.notes[0] for run in (one, two))


def test_cold_starts_and_warm_up_are_told(base: Path, tmp_path: Path) -> None:
    sampling = replace(SHORT, cold_starts=3, warm_up_max_s=1, warm_up_queries=20)
    run = only_run(
        measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], settings(base, sampling))
    )
    assert len(run.cold_starts) == 3
    assert len({start.process_ms for start in run.cold_starts}) == 3
    starts = sorted(start.load_ms for start in run.cold_starts)
    assert run.cold_start.load_ms == starts[1], "the median"
    assert run.warm_up is not None and run.warm_up.queries >= 20
    assert run.warm_up.steady is not None and run.warm_up.change is not None


def test_a_model_is_kept_on_the_cores_it_was_told(base: Path, tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    model = measured(matmul(tmp_path / "m.onnx"))
    run = only_run(measure(LocalTransport(), [model], settings(base, cpus=(core,))))
    assert run.runtime.cpus == (core,)
    with pytest.raises(UsageError, match="core 4095 can't be used"):
        measure(LocalTransport(), [model], settings(base, cpus=(4095,)))
    assert list((base / "runs").iterdir()) == []


def test_energy_where_the_device_can_tell(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/vcgencmd"
    program.parent.mkdir()
    # What a Raspberry Pi 5 prints of its rails, a second of them, at 2 A under load and 1 A idle.
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = pmic_read_adc ] || { echo "throttled=0x0"; exit; }\n'
        f"pgrep -f '^[^ ]* {base}/blobs/.*[.]pyz worker' > /dev/null && a=2 || a=1\n"
        'echo " VDD_CORE_A current(7)=${a}.00000000A"\n'
        'echo " VDD_CORE_V volt(15)=0.75000000V"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    model = measured(matmul(tmp_path / "m.onnx"))
    sampling = replace(SHORT, power_s=1.0)
    run = only_run(measure(LocalTransport(), [model], settings(base, sampling)))
    energy = run.energy
    assert energy is not None, run.missing
    assert set(energy.power_w) == {1.5} and set(energy.idle_power_w) == {0.75}
    each_s = energy.seconds / energy.inferences
    assert energy.inference_mj == pytest.approx(1500 * each_s)
    assert energy.above_idle_mj == pytest.approx(750 * each_s)
    assert "pmic_read_adc" in energy.method
    assert Run.from_json(run.to_json()) == run


def test_both_queries_and_time_where_both_are_wanted(base: Path, tmp_path: Path) -> None:
    both = replace(SHORT, queries=30, seconds=0.3, both=True, max_queries=10**6)
    run = only_run(
        measure(LocalTransport(), [measured(matmul(tmp_path / "m.onnx"))], settings(base, both))
    )
    assert len(run.samples_ms) >= 30 and sum(run.samples_ms) >= 300
    assert not any("too few" in reason for reason in run.validity.reasons)


def test_an_integer_only_model_is_judged_by_its_own_answers(base: Path) -> None:
    model = measured(GOLDEN / "tiny_int8.tflite")
    run = only_run(measure(LocalTransport(), [model], settings(base)))
    assert run.correctness.against == "self"
    wrong = replace(model, host_outputs=[[-array[0]] for array in model.host_outputs])
    run = only_run(measure(LocalTransport(), [wrong], settings(base)))
    assert run.correctness.status == "failed"


def test_a_second_run_sends_only_what_is_damaged(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    first, second = Watched(), Watched()
    one = only_run(measure(first, [model], settings(base)))
    assert first.pushed_blobs == 3, "agent, model, inputs"
    blob = base / "blobs" / f"{model.sha256}.onnx"
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    again = replace(model, inputs=[[np.array(array) for array in s] for s in model.inputs])
    two = only_run(measure(second, [again], settings(base)))
    assert second.pushed_blobs == 1
    assert blob.read_bytes() == model.path.read_bytes()
    assert two.correctness.status == "passed"
    assert one.samples_ms != two.samples_ms, "it was measured anew"
    assert one.measurement.partition("-")[0] == two.measurement.partition("-")[0]
    assert one.measurement != two.measurement


def test_a_lost_connection_is_picked_up(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    transport = Watched()
    lost = 0

    def cut(command: Sequence[str]) -> None:
        nonlocal lost
        if command[0] == "tail" and lost < 3:
            lost += 1
            raise Unreachable("local: connection lost")

    transport.before = cut
    events: list[ProgressEvent] = []
    run = only_run(measure(transport, [model], settings(base, SECONDS), events.append))
    assert lost == 3
    told = [event.message for event in events if event.phase == "lost"]
    assert told == ["connection lost, picking up again"] * 3
    assert run.correctness.status == "passed"
    assert len([path for path in transport.pushed if path.endswith("job.json")]) == 1


def test_a_connection_that_stays_lost_is_given_up(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    transport = Watched()

    def cut(command: Sequence[str]) -> None:
        if command[0] == "tail":
            raise Unreachable("local: connection lost")

    transport.before = cut
    with pytest.raises(Unreachable):
        measure(transport, [model], settings(base, SECONDS, reconnect_s=0.5))
    # It goes on without the host, and is there for the next.
    events: list[ProgressEvent] = []
    measure(LocalTransport(), [model], settings(base, SECONDS), events.append)
    assert any("picking up the measurement" in event.message for event in events)


HOST = """
import sys
from pathlib import Path
from small_models import SECONDS, LONG, measured
from edgewright.profiler.job import MeasureSettings
from edgewright.profiler.measure import measure
from edgewright.profiler.transports.local import LocalTransport
path, base, sampling = sys.argv[1:]
settings = MeasureSettings(base=base, sampling=globals()[sampling], poll_s=0.1, deadline_s=60)
measure(LocalTransport(), [measured(Path(path))], settings, lambda e: print(e.phase, flush=True))
"""


def host(path: Path, base: Path, sampling: str) -> subprocess.Popen[str]:
    """Another process that measures, and is under way."""
    tests = str(Path(__file__).parents[1])
    import edgewright

    package = str(Path(str(edgewright.__path__[0])).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, path, base, sampling],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, package])},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "measure\n":
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_a_killed_host_finds_its_measurement_again(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    process = host(path, base, "SECONDS")
    process.kill()
    process.wait()
    [directory] = (base / "runs").iterdir()
    started = (directory / "pid").read_text()
    watched = Watched()
    seen: list[str] = []

    def remember(command: Sequence[str]) -> None:
        if (directory / "pid").exists():
            seen.append((directory / "pid").read_text())

    watched.before = remember
    run = only_run(measure(watched, [measured(path)], settings(base, SECONDS)))
    assert watched.pushed == [], "nothing was sent and nothing started"
    assert set(seen) == {started}
    assert run.correctness.status == "passed"
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def test_ctrl_c_leaves_neither_process_nor_file(base: Path, tmp_path: Path) -> None:
    process = host(matmul(tmp_path / "m.onnx"), base, "LONG")
    [directory] = (base / "runs").iterdir()
    conductor = json.loads((directory / "pid").read_text())["pid"]
    assert len(processes.group_members(conductor)) == 2
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in stderr
    assert processes.group_members(conductor) == []
    assert [path for path in base.rglob("*") if path.is_file()] == [base / "lock"]


def test_ctrl_c_keeps_what_others_sent(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    deploy(install_agent(LocalTransport(), base=str(base)), [Blob.of(model.path)])
    blobs = set((base / "blobs").iterdir())
    transport = Watched()

    def interrupt(command: Sequence[str]) -> None:
        if command[0] == "tail":
            transport.before = lambda command: None
            raise KeyboardInterrupt

    transport.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        measure(transport, [model], settings(base, LONG))
    assert transport.closed
    assert set((base / "blobs").iterdir()) == blobs
    assert list((base / "runs").iterdir()) == []


def test_ctrl_c_removes_what_earlier_measurements_sent(base: Path, tmp_path: Path) -> None:
    def interrupt(command: Sequence[str]) -> None:
        if command[0] == "tail":
            second.before = lambda command: None
            raise KeyboardInterrupt

    def of_seed(seed: int) -> MeasuredModel:
        return measured(matmul(tmp_path / f"{seed}.onnx", seed))

    foreign = Blob.of(of_seed(3).path)
    sent: list[str] = []
    first, second = Watched(), Watched()
    measure(first, [of_seed(1)], settings(base), sent=sent)
    blobs = {path for path in sent if not path.endswith(".part")}
    assert blobs == set(map(str, (base / "blobs").iterdir())), "agent, model, inputs"
    deploy(install_agent(LocalTransport(), base=str(base)), [foreign])
    second.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        measure(second, [of_seed(2)], settings(base, LONG), sent=sent)
    assert [path.name for path in (base / "blobs").iterdir()] == [f"{foreign.sha256}.onnx"]


def test_ctrl_c_while_the_agent_is_sent(base: Path, tmp_path: Path) -> None:
    class Interrupted(LocalTransport):
        def push(self, local: Path, remote: str, *arguments: Any, **options: Any) -> None:
            super().push(local, remote, *arguments, **options)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(Interrupted(), [measured(matmul(tmp_path / "m.onnx"))], settings(base))
    assert list((base / "blobs").iterdir()) == []


def test_the_only_model_fails(base: Path, tmp_path: Path) -> None:
    model = measured(out_of_range(tmp_path / "gather.onnx"), check=False)
    with pytest.raises(AgentFailed) as raised:
        measure(LocalTransport(), [model], settings(base))
    for words in ("gather", "local", "onnxruntime", "first inference", "out of data bounds"):
        assert words in raised.value.message
    assert raised.value.hint
    assert list((base / "runs").iterdir()) == []


def test_one_of_several_fails(base: Path, tmp_path: Path) -> None:
    models = [
        measured(out_of_range(tmp_path / "gather.onnx"), check=False),
        measured(matmul(tmp_path / "m.onnx")),
    ]
    failed, other = measure(LocalTransport(), models, settings(base))
    assert isinstance(failed, FailedRun) and isinstance(other, Run)
    assert failed.phase == "first inference"
    assert isinstance(failed.to_error(), AgentFailed)


def test_out_of_memory(base: Path, tmp_path: Path) -> None:
    python = tmp_path / "python-in-4-gib"
    python.write_text(f'#!/bin/sh\nulimit -v {4 * 2**20}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    model = measured(greedy(tmp_path / "greedy.onnx", 16), check=False)
    with pytest.raises(DeviceOutOfMemory, match="greedy"):
        measure(LocalTransport(), [model], settings(base, python=str(python)))


def test_resuming_takes_what_is_there_and_starts_nothing(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    asked = settings(base, SECONDS, resume=True)
    watched = Watched()
    with pytest.raises(DeviceError, match="has no measurement of m with these settings"):
        measure(watched, [measured(path)], asked)
    assert [Path(name).suffix for name in watched.pushed] == [".part"], "the agent alone"
    process = host(path, base, "SECONDS")
    process.kill()
    process.communicate()
    [directory] = (base / "runs").iterdir()
    started = (directory / "pid").read_text()
    # While it runs, and when it has long been finished.
    watched = Watched()
    watched.before = lambda command: (_ for _ in ()).throw(cut) if command[0] == "tail" else None
    cut = Unreachable("local: gone")
    with pytest.raises(Unreachable) as raised:
        measure(watched, [measured(path)], replace(asked, reconnect_s=0.2))
    hint = str(raised.value.hint)
    assert "--resume" in hint and hint.count("the same command") == 1, "it is said once"
    assert (directory / "pid").read_text() == started
    wait_until(lambda: (directory / "result.json").exists())
    process_then = json.loads(started)
    process_then["boot_s"] -= 10**6
    (directory / "pid").write_text(json.dumps(process_then))
    run = only_run(measure(watched, [measured(path)], asked))
    assert run.correctness.status == "passed" and watched.pushed == []
    assert list((base / "runs").iterdir()) == []


def test_resuming_what_died_says_so(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    process = host(path, base, "LONG")
    process.kill()
    process.communicate()
    [directory] = (base / "runs").iterdir()
    os.kill(json.loads((directory / "pid").read_text())["pid"], signal.SIGKILL)
    with pytest.raises(AgentFailed, match=r"ended without a result \(stale\)"):
        measure(LocalTransport(), [measured(path)], settings(base, LONG, resume=True))
    assert list((base / "runs").iterdir()) == []


def test_two_processes_of_one_user_each_get_a_result(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    first = host(path, base, "SECONDS")
    said: list[str] = []
    second = measure(
        LocalTransport(),
        [measured(path)],
        settings(base, SECONDS),
        lambda event: said.append(event.message),
    )
    _, errors = first.communicate(timeout=30)
    assert first.returncode == 0, errors
    [told] = [message for message in said if "busy" in message]
    assert f"process {first.pid} there) has been measuring m for" in told
    assert only_run(second).correctness.status == "passed"
    assert list((base / "runs").iterdir()) == []


def test_two_processes_that_begin_at_the_same_moment(base: Path, tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx")
    others: list[subprocess.Popen[str]] = []

    class Overtaken(LocalTransport):
        def push(self, local: Path, remote: str, *others_: Any, **options: Any) -> None:
            if remote.endswith("/job.json") and not others:
                others.append(host(path, base, "SECONDS"))
            super().push(local, remote, *others_, **options)

    said: list[str] = []
    second = measure(
        Overtaken(),
        [measured(path)],
        settings(base, SECONDS),
        lambda event: said.append(event.message),
    )
    [first] = others
    _, errors = first.communicate(timeout=30)
    assert first.returncode == 0, errors
    assert any(f"process {first.pid} there) has been measuring m for" in told for told in said)
    assert only_run(second).correctness.status == "passed"
    assert list((base / "runs").iterdir()) == []


@pytest.mark.parametrize("ends", [True, False])
def test_a_busy_device_is_waited_for(base: Path, tmp_path: Path, ends: bool) -> None:
    base.mkdir()
    said: list[str] = []
    with (base / "lock").open("w") as lock:
        holder = {"name": "ann@lab", "pid": 12, "run": "0123456789abcdef" * 4, "models": ["n"]}
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - 300
        lock.write(json.dumps({**holder, "since": since}))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        def listen(event: ProgressEvent) -> None:
            said.append(event.message)
            if ends and "busy" in event.message:
                fcntl.flock(lock, fcntl.LOCK_UN)

        def run() -> list[Run | FailedRun]:
            return measure(
                LocalTransport(),
                [measured(matmul(tmp_path / "m.onnx"))],
                settings(base, busy_s=30 if ends else 0),
                listen,
            )

        if ends:
            assert len(run()) == 1
            [told] = [message for message in said if "busy" in message]
            assert told.endswith("waiting up to 30 s for its end")
        else:
            with pytest.raises(DeviceBusy) as raised:
                run()
            assert raised.value.message == (
                "local is busy: ann@lab (process 12 there) has been measuring n for 5 min "
                "(run 0123456789abcdef)"
            )
    assert list((base / "runs").iterdir()) == []


def test_a_conductor_that_is_killed_is_told(base: Path, tmp_path: Path) -> None:
    transport = Watched()

    def kill(command: Sequence[str]) -> None:
        if command[0] == "tail":
            [directory] = (base / "runs").iterdir()
            os.kill(json.loads((directory / "pid").read_text())["pid"], signal.SIGKILL)
            transport.before = lambda command: None

    transport.before = kill
    began = time.monotonic()
    with pytest.raises(AgentFailed, match="without a result"):
        measure(transport, [measured(matmul(tmp_path / "m.onnx"))], settings(base, LONG, quiet_s=1))
    assert time.monotonic() - began < 20


def test_no_python_and_no_runtime(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    with pytest.raises(RuntimeMissing, match="has no python9"):
        measure(LocalTransport(), [model], settings(base, python="python9"))
    bare = tmp_path / "python-alone"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(RuntimeMissing) as raised:
        measure(LocalTransport(), [model], settings(base, python=str(bare)))
    assert str(raised.value.hint).endswith(f"{bare} -m pip install onnxruntime")
    with pytest.raises(UsageError, match="can't run onnx"):
        measure(LocalTransport(), [model], settings(base, runtime="ai_edge_litert"))


def test_what_is_asked_has_to_make_sense(base: Path, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    for models in ([], [model, model], [replace(model, inputs=[])]):
        with pytest.raises(UsageError):
            measure(LocalTransport(), models, settings(base))
    with pytest.raises(UsageError, match="absolute"):
        measure(LocalTransport(), [model], settings(Path("relative")))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"can't mount a small disk: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_without_room_is_told_before_sending(small_disk: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"x" * (3 << 20))
    agent_there = install_agent(LocalTransport(), base=str(small_disk / "base"))
    with pytest.raises(NoSpaceOnDevice, match=f"{3 << 20} bytes to send"):
        deploy(agent_there, [Blob.of(big)])


def test_a_disk_that_runs_full_while_sending(small_disk: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"x" * (7 << 20))
    there = install_agent(LocalTransport(), base=str(small_disk / "base"))
    with pytest.raises(NoSpaceOnDevice):
        deploy(replace(there, free_bytes=1 << 40), [Blob.of(big)])
    assert list((small_disk / "base/blobs").iterdir()) == [Path(there.path)]


def test_a_file_that_arrives_damaged_is_refused(base: Path, tmp_path: Path) -> None:
    from edgewright.errors import IntegrityError

    class Corrupting(LocalTransport):
        def push(self, local: Path, remote: str, *arguments: Any, **options: Any) -> None:
            super().push(local, remote, *arguments, **options)
            if ".onnx" in remote:
                Path(remote).write_bytes(b"something else")

    model = matmul(tmp_path / "m.onnx")
    with pytest.raises(IntegrityError, match="arrived as sha256"):
        deploy(install_agent(Corrupting(), base=str(base)), [Blob.of(model)])
    assert [path.suffix for path in (base / "blobs").iterdir()] == [".pyz"]


@pytest.mark.device
def test_over_ssh(
    inprocess_device: InProcessDevice, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewright.profiler.transports.ssh import SshTransport

    here = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    python = tmp_path / "python"
    python.write_text(here)
    python.chmod(0o755)
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(inprocess_device.ssh_config_path))
    transport = SshTransport(inprocess_device.url)
    cuts = 0

    def drop(event: ProgressEvent) -> None:
        nonlocal cuts
        if event.phase == "measure" and cuts < 2:
            cuts += 1
            inprocess_device.drop_connections()

    model = measured(matmul(tmp_path / "m.onnx"))
    asked = settings(base, SECONDS, python=str(python))
    try:
        run = only_run(measure(transport, [model], asked, drop))
    finally:
        transport.close()
    assert cuts == 2
    assert run.correctness.status == "passed"
    assert run.device.address == transport.address
    assert list((base / "runs").iterdir()) == []


@pytest.mark.device
def test_an_emulated_board_is_recognised() -> None:
    from devices.arm64 import start_arm64

    from edgewright.profiler.transports.ssh import SshTransport

    with start_arm64("modern") as board, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
        transport = SshTransport(board.url)
        device, installed = install_agent(transport).read_facts()
        transport.close()
    assert device.emulated
    assert (device.model, device.cpu) == ("Raspberry Pi 4 Model B Rev 1.5", "4x Cortex-A72")
    assert device.architecture == installed.architecture == "aarch64"
    assert "asimd" in device.features and "dotprod" not in device.features
    assert device.missing == {}
    assert {"onnxruntime", "ai_edge_litert"} <= set(installed.runtimes)
