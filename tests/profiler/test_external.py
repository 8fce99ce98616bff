"""Benchmark tools of others: found, sent, run, read, and every way in which that goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clirunner import Cli
from devices.adbd import AdbPhoneFactory
from devices.base import DeviceUnavailable, SshDevice
from devices.inprocess import InProcessDevice
from devices.processes import wait_until
from external_tools import write_litert, write_replay, write_script
from models import conv_net
from small_tflite import Graph

from edgewright.errors import (
    AgentFailed,
    DeviceBusy,
    DeviceOutOfMemory,
    DeviceTimeout,
    EdgewrightError,
    IntegrityError,
    RuntimeMissing,
    Unreachable,
    UsageError,
)
from edgewright.pipeline import profile_externally
from edgewright.profiler.external.base import Figures
from edgewright.profiler.external.figures import ExternalRun, ReportedLatency
from edgewright.profiler.external.judge import judge_external
from edgewright.profiler.job import SAMPLING, MeasureSettings

TFLITE = Path(__file__).parent.parent / "golden" / "targets_conv_float.tflite"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory on this machine as a device."""
    monkeypatch.setenv("EDGEWRIGHT_DEVICE_DIR", str(tmp_path / "device"))
    return tmp_path / "device"


def profile(
    path: Path | str | None,
    model: Path = TFLITE,
    device: str = "local",
    runner: str = "benchmark_model",
    accelerator: str | None = None,
    **settings: float,
) -> ExternalRun:
    return profile_externally(
        model,
        device,
        MeasureSettings(**settings),  # type: ignore[arg-type]
        lambda event: None,
        runner=runner,
        path_of_runner=None if path is None else str(path),
        accelerator=accelerator,
    )


def refused(error: type[EdgewrightError], text: str, tmp_path: Path, **words: float) -> str:
    """What a tool that is this script ends in."""
    tool = write_script(tmp_path / "benchmark_model", f"#!/bin/sh\n{text}\n")
    with pytest.raises(error) as raised:
        profile(tool, **words)  # type: ignore[arg-type]
    assert raised.value.hint or error is DeviceTimeout
    return raised.value.message


def is_running(command: str) -> bool:
    return subprocess.run(["pgrep", "-f", command], capture_output=True).returncode == 0


def left_behind(base: Path) -> list[str]:
    return [str(path.relative_to(base)) for path in (base / "runs").rglob("*")]


# On this machine


def test_the_real_benchmark_of_litert_measures(base: Path, tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", [1, 512])
    for index in range(4):
        weights = np.random.default_rng(index).normal(size=(512, 512)).astype(np.float32)
        x = graph.dense(x, graph.constant(f"w{index}", weights), f"y{index}")
    model = graph.write(tmp_path / "dense.tflite", x)
    run = profile(write_litert(tmp_path / "tool"), model, threads=1)
    assert run.latency.count == 128
    assert 0.01 <= run.latency.mean_ms < 100
    assert run.source == "reported by benchmark_model, not measured by Edgewright"
    assert run.tool.sha256 and run.device.architecture and run.model_size_bytes > 4 * 512 * 512
    assert [moment.taken for moment in run.conditions] == ["before", "after"]
    assert "summaries" in run.missing["samples_ms"] and run.samples_ms is None
    assert not left_behind(base)


def test_what_a_tool_told_is_the_result(base: Path, tmp_path: Path) -> None:
    run = profile(write_replay(tmp_path / "tool", "benchmark_model"), threads=3)
    assert run.latency.count >= 128 and run.operators is not None
    assert run.tool.command[0] == str(tmp_path / "tool/benchmark_model")
    assert "--num_threads=3" in run.tool.command and run.threads == 3
    assert not any("profiling" in word for word in run.tool.command)
    assert run.correctness.status == "not-checked" and "without --runner" in run.correctness.reason
    assert "peak memory is of the run that takes the operators' times" in run.notes
    assert ExternalRun.from_json(json.loads(json.dumps(run.to_json()))) == run
    assert not left_behind(base)


def test_every_inference_is_kept_where_the_tool_tells_it(base: Path, tmp_path: Path) -> None:
    model = conv_net(tmp_path / "conv.onnx")
    tool = write_replay(tmp_path / "tool", "onnxruntime_perf_test")
    run = profile(tool, model, runner="onnxruntime_perf_test", accelerator="cpu")
    assert run.samples_ms is not None and len(run.samples_ms) == run.latency.count == 30
    assert sum(run.rounds) == 30
    assert run.acceleration is not None and run.acceleration.status == "whole"
    assert run.acceleration.evidence == (
        "7 operator(s) of the profile ran on CPUExecutionProvider",
    )
    assert not run.validity.valid and "too few samples: 30" in run.validity.reasons[0]
    assert not left_behind(base)


def test_what_was_asked_for_and_did_not_happen_is_invalid(base: Path, tmp_path: Path) -> None:
    model = conv_net(tmp_path / "conv.onnx")
    tool = write_replay(tmp_path / "tool", "onnxruntime_perf_test")
    run = profile(tool, model, runner="onnxruntime_perf_test", accelerator="nnapi")
    assert run.acceleration is not None and run.acceleration.status == "none"
    assert "nothing of the model ran on nnapi" in run.validity.reasons[0]
    tflite = profile(write_replay(tmp_path / "other", "benchmark_model"), accelerator="gpu")
    assert tflite.acceleration is not None and tflite.acceleration.status == "unproven"
    assert not tflite.validity.valid
    assert "does not prove that the model ran on gpu" in tflite.validity.reasons[0]


@pytest.mark.parametrize(
    ("latency", "words"),
    [
        ({"count": 500, "mean_ms": 10.0, "std_ms": 1.0}, None),
        ({"count": 500, "mean_ms": 10.0}, None),
        ({"count": 500, "mean_ms": 10.0, "std_ms": 20.0}, "too uneven for a mean: 10 ms"),
        ({"count": 500, "mean_ms": 10.0, "percentiles_ms": {"p50": 5, "p95": 30}}, "30 ms or more"),
        ({"count": 500, "mean_ms": 0.01, "percentiles_ms": {"p50": 0.01, "p95": 0.04}}, None),
        ({"count": 19, "mean_ms": 600.0}, "too few inferences: 19 in 11.4 s"),
        ({"count": 20, "mean_ms": 600.0}, None),
        ({"count": 100, "mean_ms": 10.0}, "too few inferences: 100 in 1.0 s"),
    ],
)
def test_summaries_are_judged_by_what_they_tell(latency: dict[str, Any], words: str | None) -> None:
    figures = Figures(ReportedLatency(**latency))
    sampling = SAMPLING["quick"]
    found = judge_external(figures, None, (), sampling, emulated=False, threads=1, cores=4)
    assert found.valid is (words is None)
    assert words is None or words in found.reasons[0]
    emulated = judge_external(figures, None, (), sampling, emulated=True, threads=1, cores=4)
    assert "emulated" in emulated.reasons[0]


# The command line


def test_the_command_line_drives_tools_and_compares_their_runs(
    base: Path, tmp_path: Path, cli: Cli
) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        shown = cli(
            *("profile", TFLITE, "--runner", "benchmark_model", "--runner-path", tool),
            *("--runner-args", "--use_caching=true '--x=a b'", "--operators", "-o", file),
        )
        assert shown.code == 0, shown
        assert "not measured by Edgewright" in shown.out and "TRANSPOSE_CONV" in shown.out
        assert json.loads(file.read_text())["tool"]["command"][-2:] == [
            "--use_caching=true",
            "--x=a b",
        ]
    compared = cli("compare", *files)
    assert compared.code == 0 and "not proven to be faster or slower" in compared.out
    # Of summaries nothing is proven, so no limit is passed.
    gated = cli("compare", *files, "--max-slowdown", "1000", "--json")
    assert gated.code == 1 and gated.json["interval"] is None
    assert any("nothing is proven" in reason for reason in gated.json["verdict"]["reasons"])


def test_samples_are_compared_with_an_interval(base: Path, tmp_path: Path, cli: Cli) -> None:
    model = conv_net(tmp_path / "conv.onnx")
    tool = write_replay(tmp_path / "tool", "onnxruntime_perf_test")
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert cli("profile", model, "--runner", "onnxruntime_perf_test", "--runner-path", tool,
                   "-o", file, "--json").json["kind"] == "external"  # fmt: skip
    compared = cli("compare", *files, "--json").json
    low, high = compared["interval"]
    assert low <= compared["ratio"] == 1.0 <= high
    assert not compared["is_faster"] and not compared["is_slower"]


def test_times_of_different_instruments_are_not_compared(
    base: Path, tmp_path: Path, cli: Cli
) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    own, other = tmp_path / "own.json", tmp_path / "other.json"
    cli("profile", TFLITE, "--runner", "benchmark_model", "--runner-path", tool, "-o", other)
    assert cli("profile", TFLITE, "-o", own).code == 0
    cli.refuses("compare", own, other, saying="measured by another tool")


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--runner", "trtexec"], "no runner"),
        (["--runner", "onnxruntime_perf_test"], "can't run tflite"),
        (["--runner", "benchmark_model", "--accelerator", "tpu"], "no accelerator 'tpu'"),
        (["--runner", "benchmark_model", "--cpus", "big"], "can't be used with --cpus"),
        (["--runner", "benchmark_model", "--batch", "2"], "can't be used with --batch"),
        (["--runner", "benchmark_model", "--sustained", "1"], "can't be used with --sustained"),
        (["--runner", "benchmark_model", "--inputs", "x.npz"], "makes its inputs itself"),
        (["--runner", "benchmark_model", "--runner-args", "'"], "No closing quotation"),
        (["--runner", "benchmark_model", str(TFLITE)], "one model at a time"),
        (["--runner-path", "x"], "--runner-path says nothing without --runner"),
        (["--accelerator", "gpu"], "--accelerator says nothing without --runner"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, words: list[str], saying: str) -> None:
    cli.refuses("profile", TFLITE, *words, saying=saying)


# Faults


def test_a_tool_that_is_nowhere_is_missing(base: Path) -> None:
    with pytest.raises(RuntimeMissing, match="no benchmark_model on its PATH"):
        profile(None)
    with pytest.raises(RuntimeMissing, match=f"there is no {'a' * 300}, neither"):
        profile("a" * 300)
    with pytest.raises(UsageError, match="nobody knows where that home is"):
        profile("~no-such-user/benchmark_model")
    with pytest.raises(RuntimeMissing, match=r"no /no/such, neither on this machine nor on local"):
        profile("/no/such")


def test_a_directory_without_the_tool_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no benchmark_model in"):
        profile(tmp_path)


def test_a_tool_on_the_path_is_found(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = write_replay(tmp_path / "bin", "benchmark_model")
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    assert profile(None).tool.path == str(tool)


def test_a_tool_that_is_not_executable_is_told(base: Path, tmp_path: Path) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    tool.chmod(0o600)
    with pytest.raises(RuntimeMissing, match="ermission denied"):
        profile(tool)


def test_a_tool_for_another_machine_is_told(base: Path, tmp_path: Path) -> None:
    header = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    header[18:20] = (243).to_bytes(2, "little")  # RISC-V
    tool = tmp_path / "benchmark_model"
    tool.write_bytes(header)
    tool.chmod(0o755)
    with pytest.raises(RuntimeMissing, match="built for riscv64, the device is"):
        profile(tool)


def test_a_missing_shared_library_is_told(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int part(void); int main(void) { return part(); }")
    (tmp_path / "part.c").write_text("int part(void) { return 3; }")
    tool, library = tmp_path / "t/benchmark_model", tmp_path / "t/libpart.so"
    tool.parent.mkdir()
    subprocess.run(["cc", "-shared", "-o", library, tmp_path / "part.c"], check=True)
    subprocess.run(["cc", "-o", tool, source, f"-L{library.parent}", "-lpart"], check=True)
    # Beside the tool it is found, and the tool's own exit code comes through.
    with pytest.raises(AgentFailed, match="ended with code 3"):
        profile(tool)
    library.unlink()
    with pytest.raises(RuntimeMissing, match=r"lacks a shared library: .*libpart\.so"):
        profile(tool)


def test_a_crash_is_told_by_its_signal(base: Path, tmp_path: Path) -> None:
    message = refused(AgentFailed, "echo oops >&2; kill -SEGV $$", tmp_path)
    assert "crashed (SIGSEGV)" in message and "oops" in message
    assert not left_behind(base)


def test_a_kill_is_most_likely_for_memory(base: Path, tmp_path: Path) -> None:
    assert "was killed" in refused(DeviceOutOfMemory, "kill -KILL $$", tmp_path)


def test_a_rejected_model_is_told_in_the_tools_words(base: Path, tmp_path: Path) -> None:
    message = refused(AgentFailed, "echo 'ERROR: Failed to load model' >&2; exit 1", tmp_path)
    assert message.endswith("ended with code 1 on targets_conv_float.tflite: Failed to load model")


@pytest.mark.parametrize("text", ["", "echo hello", "head -c 3000 /dev/urandom"])
def test_garbage_is_no_result(base: Path, tmp_path: Path, text: str) -> None:
    assert "can't be read" in refused(AgentFailed, text, tmp_path)
    assert not left_behind(base)


def test_a_tool_that_hangs_is_ended(base: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    refused(DeviceTimeout, "sleep 1003 & sleep 1003", tmp_path, deadline_s=1.0)
    assert time.monotonic() - began < 20
    wait_until(
        lambda: not subprocess.run(["pgrep", "-f", "sleep 1003"], capture_output=True).stdout
    )
    assert not left_behind(base)


def test_ctrl_c_leaves_nothing_that_was_sent(base: Path, tmp_path: Path) -> None:
    profile(write_replay(tmp_path / "before", "benchmark_model"))
    kept = set((base / "blobs").iterdir())
    model = tmp_path / "other.tflite"
    model.write_bytes(TFLITE.read_bytes() + b"\0" * 8)
    script = "#!/bin/sh\nkill -INT $PPID\nexec sleep 1005\n"
    tool = write_script(tmp_path / "tool/benchmark_model", script)
    with pytest.raises(KeyboardInterrupt):
        profile(tool, model)
    assert set((base / "blobs").iterdir()) == kept and not left_behind(base)
    wait_until(lambda: not is_running("sleep 1005"))


def test_an_unknown_option_of_an_old_version_is_told(base: Path, tmp_path: Path) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    tool.write_text(tool.read_text() + "echo 'WARN: Unconsumed cmdline flags: --use_gpu=true'\n")
    with pytest.raises(RuntimeMissing, match="does not know --use_gpu=true"):
        profile(tool, accelerator="gpu")
    assert profile(tool).notes[0] == "benchmark_model did not know --use_gpu=true"


def test_another_measurement_is_not_disturbed(base: Path, tmp_path: Path) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    base.mkdir()
    since = time.clock_gettime(time.CLOCK_BOOTTIME)
    holder = {"name": "ann@lab", "pid": 7, "models": ["net"], "run": "abc", "since": since}
    (base / "lock").write_text(json.dumps(holder))
    with (base / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeviceBusy, match=r"ann@lab .* has been measuring net for \d s"):
            profile(tool, busy_s=0.0)
    assert profile(tool).latency.count  # and it goes when it is free
    assert json.loads((base / "lock").read_text())["models"] == [TFLITE.name]


@pytest.mark.device
def test_the_lock_holds_in_androids_shell(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mksh = shutil.which("mksh")
    if mksh is None:
        raise DeviceUnavailable("no mksh here: install the package")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to(mksh)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    # The tool itself has the lock: another one is refused while it runs.
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    lines = tool.read_text().splitlines()
    lines.insert(1, f"flock -n {base}/lock true && echo free >>{tmp_path}/seen")
    tool.write_text("\n".join(lines) + "\n")
    assert profile(tool, busy_s=0.0).latency.count
    assert not (tmp_path / "seen").exists()
    with (base / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeviceBusy, match=TFLITE.name):
            profile(tool, busy_s=0.0)


def test_what_arrives_damaged_is_not_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The device's own sha256sum says otherwise than what was sent.
    write_script(tmp_path / "bin/sha256sum", "#!/bin/sh\necho \"$(printf '%064d' 0)  $1\"\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(IntegrityError, match=r"targets_conv_float.tflite arrived damaged"):
        profile(write_replay(tmp_path / "tool", "benchmark_model"))
    assert [path.suffix for path in (base / "blobs").iterdir()] == [".pyz"]


def test_what_old_runs_left_is_removed(base: Path, tmp_path: Path) -> None:
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    for name, age_h in (("benchmark_model-old", 49), ("benchmark_model-new", 1), ("other", 49)):
        left = base / "runs" / name
        (left / "model").mkdir(parents=True)
        os.utime(left, (time.time() - 3600 * age_h,) * 2)
    profile(tool)
    assert {path.name for path in (base / "runs").iterdir()} == {"benchmark_model-new", "other"}


# On devices that are reached


def on_device(device: SshDevice, path: str) -> list[Path]:
    return sorted((Path(device.home) / ".cache/edgewright" / path).iterdir())


def test_a_directory_is_sent_once_and_proven(
    sshd_device: SshDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEWRIGHT_DEVICE_DIR", raising=False)
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(sshd_device.ssh_config_path))
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    first = profile(tool.parent, device=sshd_device.url)
    program = Path(first.tool.path)
    assert program.name == "benchmark_model" and program.stat().st_mode & 0o777 == 0o700
    before = program.stat().st_mtime_ns
    second = profile(tool.parent, device=sshd_device.url).tool
    assert (second.path, second.sha256) == (first.tool.path, first.tool.sha256)
    assert program.stat().st_mtime_ns == before
    program.write_text("damaged")
    assert profile(tool.parent, device=sshd_device.url).latency == first.latency
    assert not on_device(sshd_device, "runs")
    assert not [path for path in on_device(sshd_device, "blobs") if path.suffix == ".part"]


def test_a_lost_connection_is_told_and_nothing_runs_on(
    inprocess_device: InProcessDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEWRIGHT_DEVICE_DIR", raising=False)
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(inprocess_device.ssh_config_path))
    started = tmp_path / "started"
    tool = write_script(tmp_path / "benchmark_model", f"#!/bin/sh\n: >{started}\nsleep 1004\n")

    def cut() -> None:
        wait_until(started.exists, timeout_s=60)
        inprocess_device.drop_connections()

    cutting = threading.Thread(target=cut)
    cutting.start()
    with pytest.raises(Unreachable):
        profile(tool, device=inprocess_device.url)
    cutting.join()
    wait_until(
        lambda: not subprocess.run(["pgrep", "-f", "sleep 1004"], capture_output=True).stdout
    )


@pytest.mark.device
def test_a_phone_without_python_is_enough(adb_phone: AdbPhoneFactory, tmp_path: Path) -> None:
    phone = adb_phone()
    assert phone.execute("command -v python3").exit_code != 0
    tool = write_replay(tmp_path / "tool", "benchmark_model")
    run = profile(tool.parent, device=phone.address)
    assert run.latency.count >= 128 and run.operators is not None
    assert run.device.architecture == "aarch64" and run.device.cores
    assert "Python" in run.missing["conditions"] and run.conditions == ()
    assert not phone.processes()
    with pytest.raises(RuntimeMissing, match="no onnxruntime_perf_test on its PATH"):
        model = conv_net(tmp_path / "conv.onnx")
        profile(None, model, device=phone.address, runner="onnxruntime_perf_test")
    perf = write_replay(tmp_path / "perf", "onnxruntime_perf_test")
    run = profile(perf.parent, model, device=phone.address, runner="onnxruntime_perf_test")
    assert run.samples_ms is not None and len(run.samples_ms) == 30
