"""The agent by itself: run as a device would run it, and its readings on prepared files."""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.metadata
import io
import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from agent_file import agent_file
from small_models import GOLDEN, LONG, SHORT, greedy, matmul, measured, out_of_range

import edgewright.profiler.agent
from edgewright.profiler.agent import (
    common,
    conditions,
    device,
    jobs,
    locks,
    processes,
    thermal,
    uptime,
)
from edgewright.profiler.agent import (
    measured as measured_module,
)
from edgewright.profiler.agent import (
    worker as worker_module,
)
from edgewright.profiler.job import MeasuredModel, Sampling

AGENT_SOURCES = sorted(Path(edgewright.profiler.agent.__path__[0]).glob("*.py"))


def ask(*arguments: str | Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, agent_file(), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (3 if "error" in answer else 0)
    return answer


class Workplace:
    """A base directory on a device, with everything that is started there ended afterwards."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "runs").mkdir()

    def prepare(
        self,
        *models: MeasuredModel,
        run_id: str = "run",
        runtime: str | None = None,
        sampling: Sampling = SHORT,
        deadline_s: float = 60,
        size_bytes: int | None = None,
    ) -> Path:
        directory = self.base / "runs" / run_id
        directory.mkdir()
        described = []
        for index, model in enumerate(models):
            inputs_path = directory / f"inputs-{index}.npz"
            arrays = {f"i{s}_0": sample[0] for s, sample in enumerate(model.inputs)}
            np.savez(inputs_path, **arrays)  # type: ignore[arg-type]
            natural = "onnxruntime" if model.format == "onnx" else "ai_edge_litert"
            described.append(
                {
                    "name": model.name,
                    "runtime": runtime or natural,
                    "path": str(model.path),
                    "size_bytes": size_bytes or model.size_bytes,
                    "inputs_path": str(inputs_path),
                    "input_count": 1,
                }
            )
        job = {
            "threads": 1,
            "cpus": None,
            "cluster_counts": None,
            "limits": {"load_s": 60, "inference_s": 60},
            "deadline_s": deadline_s,
            "sampling": asdict(sampling),
            "models": described,
        }
        (directory / "job.json").write_text(json.dumps(job))
        return directory

    def finish(self, directory: Path) -> dict[str, Any]:
        wait_for(lambda: ask("poll", directory)["state"] == "finished")
        document: dict[str, Any] = json.loads((directory / "result.json").read_text())
        return document


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    for directory in (tmp_path / "runs").iterdir():
        jobs.stop(str(directory))


def wait_for(condition: Any, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def workers(directory: Path) -> list[int]:
    conductor = json.loads((directory / "pid").read_text())["pid"]
    return [pid for pid in processes.group_members(conductor) if pid != conductor]


def is_measuring(directory: Path) -> bool:
    progress = directory / "progress.jsonl"
    return progress.exists() and '"measure"' in progress.read_text()


@pytest.mark.parametrize("path", AGENT_SOURCES, ids=lambda path: path.name)
def test_runs_on_python_3_7_with_the_standard_library_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            names = [] if node.level else [node.module or ""]
        else:
            continue
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_facts_of_this_machine() -> None:
    facts = ask("facts")
    assert facts["architecture"] in ("x86_64", "aarch64")
    assert "processor" in facts["cpuinfo"]
    assert facts["ram_bytes"] > 2**28
    assert facts["cores"] == os.cpu_count()
    assert facts["emulated"] is False
    assert facts["runtimes"]["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert facts["numpy"] == np.__version__
    assert all(facts[name] is None and reason for name, reason in facts["missing"].items())


def fake_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(common, "PROC", str(tmp_path))


def test_an_x86_cpuinfo_under_an_arm_python_is_emulation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_proc(monkeypatch, tmp_path, "processor : 0\nvendor_id : GenuineIntel\nflags : avx2\n")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert device.is_emulated()


def test_a_hypervisor_is_not_emulation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_proc(monkeypatch, tmp_path, "processor : 0\nmodel name : EPYC\nflags : avx2 hypervisor\n")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert not device.is_emulated()


@pytest.fixture
def fake_sys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(common, "SYS", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_conditions_of_a_board(fake_sys: Path) -> None:
    zones = fake_sys / "class/thermal"
    for index, (kind, temperature) in enumerate(
        [("cpu-thermal", "61234"), ("soc-thermal", "48000"), ("nvme", "90000")]
    ):
        write(zones / f"thermal_zone{index}/type", kind)
        write(zones / f"thermal_zone{index}/temp", temperature)
    for core, kilohertz in enumerate(["1500000", "2400000"]):
        frequency = fake_sys / f"devices/system/cpu/cpu{core}/cpufreq"
        write(frequency / "scaling_cur_freq", kilohertz)
        write(frequency / "scaling_governor", "ondemand")
    write(zones / "cooling_device0/type", "cpufreq-cpu0")
    write(zones / "cooling_device0/cur_state", "2")
    seen = conditions.Observer().look("during")
    assert seen["temperature_c"] == pytest.approx(61.234)
    assert seen["frequency_hz"] == 2_400_000_000
    assert seen["governor"] == "ondemand"
    assert (seen["throttled"], seen["throttled_flags"]) == (True, "cpufreq-cpu0=2")
    assert set(seen["missing"]) == {"battery"}
    assert [zone["name"] for zone in seen["zones"]] == ["cpu-thermal", "soc-thermal"]
    assert [cluster["cpus"] for cluster in seen["clusters"]] == [[0], [1]]


def test_what_cannot_be_read_is_missing_with_the_reason(fake_sys: Path) -> None:
    seen = conditions.Observer().look("before")
    for name in ("temperature_c", "frequency_hz", "governor", "throttled"):
        assert seen[name] is None
        assert seen["missing"][name]
    assert "vcgencmd" in seen["missing"]["throttled"]
    assert seen["throttled_flags"] is None


@pytest.mark.parametrize(
    ("answer", "throttled"), [("0x0", False), ("0x50000", False), ("0x50005", True)]
)
def test_throttling_of_a_raspberry_pi(
    fake_sys: Path, monkeypatch: pytest.MonkeyPatch, answer: str, throttled: bool
) -> None:
    program = fake_sys / "bin/vcgencmd"
    write(program, f"#!/bin/sh\necho throttled={answer}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert thermal.throttling(with_services=False) == (throttled, answer)


def test_adopts_only_what_is_whole(tmp_path: Path) -> None:
    part, final = tmp_path / "part", tmp_path / "final"
    part.write_bytes(b"model")
    right = hashlib.sha256(b"model").hexdigest()
    assert ask("adopt", "0" * 64, part, final)["error"]["kind"] == "integrity"
    assert not part.exists() and not final.exists()
    part.write_bytes(b"model")
    assert ask("adopt", right, part, final) == {"adopted": 1}
    assert ask("adopt", right, part, final) == {"adopted": 1}, "once more is fine"
    assert ask("look", final, part) == {str(final): {"sha256": right, "arrived_bytes": 0}}


def test_measures_models_in_turn(workplace: Workplace, tmp_path: Path) -> None:
    models = [measured(matmul(tmp_path / "m.onnx")), measured(GOLDEN / "tiny_float.tflite")]
    directory = workplace.prepare(*models)
    assert ask("start", directory) == {"state": "running", "started": True}
    assert ask("start", directory)["started"] is False, "it goes on, and is not started twice"
    result = workplace.finish(directory)
    assert ask("start", directory) == {"state": "finished", "started": False}
    assert result["in_turn"] is True
    for index, model in enumerate(result["models"]):
        assert model["status"] == "finished", model
        assert len(model["blocks_ns"]) >= SHORT.min_rounds
        assert sum(map(len, model["blocks_ns"])) >= SHORT.min_queries
        assert all(ns > 0 for block in model["blocks_ns"] for ns in block)
        [start] = model["cold_starts"]
        for part in ("process_ms", "import_ms", "load_ms", "first_inference_ms"):
            assert start[part] > 0
        assert model["warm_up"]["queries"] >= SHORT.warm_up_queries
        assert model["peak_rss_bytes"] > 2**20
        taken = [moment["taken"] for moment in model["conditions"]]
        assert taken[0] == "before" and taken[-1] == "after" and "during" in taken
        with np.load(directory / f"outputs-{index}.npz") as outputs:
            for s, expected in enumerate(models[index].host_outputs):
                np.testing.assert_allclose(outputs[f"o{s}_0"], expected[0], rtol=1e-4, atol=1e-4)
    assert result["models"][0]["provider"] == "CPUExecutionProvider"
    assert result["models"][1]["provider"] == "XNNPACK"
    everything = ask("poll", directory)["progress"]
    assert {line["phase"] for line in everything} >= {"load", "warm-up", "measure", "end"}
    assert ask("poll", directory, "--since", "2")["progress"] == everything[2:]


def test_the_agent_itself_keeps_the_runtime_from_telemetry(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))  # runs here, and so comes first
    for name in ("CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    traces = tmp_path / "traces"
    for name in ("HOME", "TMPDIR"):
        (traces / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(traces / name))
    directory = workplace.prepare(model)
    ask("start", directory)
    assert [m["status"] for m in workplace.finish(directory)["models"]] == ["finished"]
    assert [path for path in traces.rglob("*") if path.is_file()] == []


def test_models_follow_each_other_where_memory_is_tight(
    workplace: Workplace, tmp_path: Path
) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    directory = workplace.prepare(model, replace(model, name="n"), size_bytes=2**50)
    ask("start", directory)
    result = workplace.finish(directory)
    assert "one after another" in result["notes"][0]
    assert result["in_turn"] is False
    assert [model["status"] for model in result["models"]] == ["finished", "finished"]


@pytest.mark.parametrize(("resolution", "expected"), [(1e-9, 1), (0.004, 4_000_000)])
def test_what_the_clock_does_not_see_lasts_its_resolution(
    monkeypatch: pytest.MonkeyPatch, resolution: float, expected: int
) -> None:
    class Engine:
        def bind(self, arrays: object) -> None: ...
        def invoke(self) -> None: ...

    clock = SimpleNamespace(resolution=resolution)
    monkeypatch.setattr(worker_module.time, "get_clock_info", lambda name: clock)
    monkeypatch.setattr(worker_module.time, "perf_counter_ns", lambda: 5)
    worker = worker_module.Worker()
    worker.engine, worker.samples = Engine(), [[]]
    assert worker.infer() == expected


@pytest.mark.parametrize("count", [0, 1, 1024, 2500])
def test_an_answer_is_one_line_of_json(count: int) -> None:
    text = io.StringIO()
    numbers = array("q", range(count))
    worker_module.write_answer(text, {"a": numbers, "b": [1, None], "c": numbers})
    [line] = text.getvalue().splitlines()
    assert json.loads(line) == {"a": list(numbers), "b": [1, None], "c": list(numbers)}


def test_the_lock_is_for_the_whole_device(workplace: Workplace, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    first = workplace.prepare(model, run_id="first", sampling=LONG)
    second = workplace.prepare(model, run_id="second")
    ask("start", first, "--owner", '{"name": "ann@lab", "pid": 7}')
    error = ask("start", second)["error"]
    assert error["kind"] == "busy"
    holder = error["holder"]
    assert 0 <= holder.pop("for_s") < 60 and abs(holder.pop("since") - uptime.now_s()) < 60
    assert holder == {"run": "first", "models": ["m"], "name": "ann@lab", "pid": 7}
    ask("start", first, "--owner", '{"name": "bob@lab"}')
    assert ask("poll", first)["holder"]["name"] == "bob@lab", "it is his from now on"
    ask("stop", first)
    ask("start", second)
    workplace.finish(second)


def test_a_lock_is_seen_where_the_kernel_lists_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a phone, whose shell may not read /proc/locks."""
    path = tmp_path / "lock"
    for proc in (common.PROC, str(tmp_path / "unreadable")):
        monkeypatch.setattr(common, "PROC", proc)
        assert not locks.is_locked(str(path))
        with path.open("w") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            assert locks.is_locked(str(path))
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert not locks.is_locked(str(path))
        path.unlink()


def test_stop_leaves_no_process(workplace: Workplace, tmp_path: Path) -> None:
    directory = workplace.prepare(measured(matmul(tmp_path / "m.onnx")), sampling=LONG)
    ask("start", directory)
    wait_for(lambda: is_measuring(directory))
    conductor = json.loads((directory / "pid").read_text())["pid"]
    assert len(processes.group_members(conductor)) == 2
    assert ask("stop", directory) == {"stopped": 2}
    assert processes.group_members(conductor) == []
    assert ask("poll", directory)["state"] == "stale"
    assert ask("stop", directory) == {"stopped": 0}


def test_a_killed_conductor_takes_its_workers_along(workplace: Workplace, tmp_path: Path) -> None:
    directory = workplace.prepare(measured(matmul(tmp_path / "m.onnx")), sampling=LONG)
    ask("start", directory)
    wait_for(lambda: is_measuring(directory))
    conductor = json.loads((directory / "pid").read_text())["pid"]
    os.kill(conductor, signal.SIGKILL)
    wait_for(lambda: processes.group_members(conductor) == [])
    assert ask("poll", directory)["state"] == "stale"
    # The lock went with it.
    with (workplace.base / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_worker_costs_its_model_only(workplace: Workplace, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    sampling = replace(SHORT, queries=10**6, seconds=1.5, max_queries=10**6)
    directory = workplace.prepare(model, replace(model, name="other"), sampling=sampling)
    ask("start", directory)
    wait_for(lambda: is_measuring(directory))
    os.kill(min(workers(directory)), signal.SIGSEGV)
    failed, other = workplace.finish(directory)["models"]
    assert failed["status"] == "failed"
    assert failed["error"]["kind"] == "crashed"
    assert (failed["error"]["signal"], failed["error"]["exit_code"]) == ("SIGSEGV", 139)
    assert failed["error"]["phase"] == "measure"
    assert "Segmentation fault" in "\n".join(failed["error"]["stderr"])
    assert other["status"] == "finished" and other["blocks_ns"]


def test_an_exception_of_the_runtime_is_told(workplace: Workplace, tmp_path: Path) -> None:
    directory = workplace.prepare(measured(out_of_range(tmp_path / "gather.onnx"), check=False))
    ask("start", directory)
    [model] = workplace.finish(directory)["models"]
    assert model["error"]["phase"] == "first inference"
    assert "out of data bounds" in model["error"]["message"]
    assert model["error"]["exit_code"] == 1


def test_a_file_that_is_no_model_is_told(workplace: Workplace, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    directory = workplace.prepare(measured(path, check=False))
    ask("start", directory)
    [model] = workplace.finish(directory)["models"]
    assert model["error"]["phase"] == "load"


def test_out_of_memory_is_told_apart(workplace: Workplace, tmp_path: Path) -> None:
    directory = workplace.prepare(measured(greedy(tmp_path / "greedy.onnx", 16), check=False))
    limited = f"ulimit -v {4 * 2**20}; exec {sys.executable} {agent_file()} start {directory}"
    subprocess.run(["sh", "-c", limited], check=True, capture_output=True)
    [model] = workplace.finish(directory)["models"]
    assert model["error"]["kind"] == "out-of-memory", model["error"]


@pytest.mark.parametrize(
    ("after", "kind"),
    [(8, "out-of-memory"), (7, "crashed"), (None, "out-of-memory")],
    ids=["the kernel counted it", "the kernel did not", "the kernel does not count"],
)
def test_a_kill_is_for_memory_if_the_kernel_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int | None, kind: str
) -> None:
    model = measured_module.Measured(0, {"name": "m"}, {}, str(tmp_path), 0.0)
    monkeypatch.setattr(measured_module, "oom_kills", lambda: 7)
    model.start()
    assert model.process is not None
    model.process.kill()
    monkeypatch.setattr(measured_module, "oom_kills", lambda: after)
    obituary = model.obituary()
    model.end()
    assert (obituary["kind"], obituary["exit_code"]) == (kind, 137)


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    model = measured_module.Measured(0, {"name": "m"}, {}, str(tmp_path), 0.0)
    model.start()
    assert model.process is not None
    model.process.send_signal(signal.SIGRTMIN + 1)
    obituary = model.obituary()
    model.end()
    number = signal.SIGRTMIN + 1
    assert (obituary["kind"], obituary["signal"]) == ("crashed", f"signal {number}")


def test_a_deadline_ends_it_with_what_there_is(workplace: Workplace, tmp_path: Path) -> None:
    model = measured(matmul(tmp_path / "m.onnx"))
    directory = workplace.prepare(model, sampling=LONG, deadline_s=2)
    ask("start", directory)
    result = workplace.finish(directory)
    assert result["notes"] == ["stopped at the deadline of 2 s"]
    assert result["models"][0]["blocks_ns"]
    assert not ask("stop", directory)["stopped"]


RUNTIME_THAT_CHATTERS = """
import ctypes, os
class Interpreter:
    def __init__(self, model_path, num_threads):
        print("hello from Python")
        os.write(1, b"hello from native code")
    def allocate_tensors(self): pass
    def get_input_details(self): return [{"index": 0, "shape": (1,)}]
    def set_tensor(self, index, array): pass
    def get_output_details(self): return []
    def invoke(self): {invoke}
"""


@pytest.mark.parametrize(
    ("invoke", "status"), [("pass", "finished"), ("ctypes.string_at(0)", "failed")]
)
def test_a_runtime_may_chatter_and_crash(
    workplace: Workplace, tmp_path: Path, invoke: str, status: str
) -> None:
    package = tmp_path / "site/tflite_runtime"
    write(package / "__init__.py", "")
    write(package / "interpreter.py", RUNTIME_THAT_CHATTERS.replace("{invoke}", invoke))
    model = replace(measured(GOLDEN / "tiny_float.tflite", check=False), inputs=[[np.zeros(1)]])
    directory = workplace.prepare(model, runtime="tflite_runtime")
    ask("start", directory, PYTHONPATH=str(tmp_path / "site"))
    [result] = workplace.finish(directory)["models"]
    assert "hello from native code" in (directory / "worker-0.stderr").read_text()
    assert result["status"] == status
    if status == "failed":
        assert result["error"]["signal"] == "SIGSEGV"
        assert result["error"]["phase"] == "first inference"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_a_clear_answer(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a small disk: {mounted.stderr.strip()}")
    try:
        workplace = Workplace(disk)
        model = measured(matmul(tmp_path / "m.onnx"))
        sampling = replace(SHORT, queries=10**6, seconds=1.5, max_queries=10**6)
        directory = workplace.prepare(model, sampling=sampling)
        ask("start", directory)
        wait_for(lambda: is_measuring(directory))
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        result = workplace.finish(directory)
        assert result["error"]["kind"] == "no-space"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_what_goes_wrong_while_energy_is_taken_costs_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = measured_module.Measured(
        0, {"name": "m"}, {"limits": {"load_s": 1, "inference_s": 1}}, str(tmp_path), 0.0
    )

    def gone(*arguments: object, **more: object) -> None:
        raise measured_module.ModelFailed({"message": "the process was ended by SIGSEGV"})

    monkeypatch.setattr(model, "ask", gone)
    model.energy([1.0], 1.0)
    assert model.result["status"] == "finished"
    assert model.result["missing"]["energy"] == "the process was ended by SIGSEGV"
