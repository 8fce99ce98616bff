"""What only a whole device can do to a measurement, done to one: restarts, memory, clock, disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from devices.base import SshDevice
from devices.virt import start_virt
from devices.whole_board import WholeBoard
from small_models import greedy, measured

from edgewright.errors import (
    AgentFailed,
    DeviceError,
    DeviceOutOfMemory,
    DeviceRestarted,
    NoSpaceOnDevice,
)
from edgewright.profiler.job import MeasuredModel, MeasureSettings, ProgressEvent, Sampling
from edgewright.profiler.measure import measure
from edgewright.profiler.result import FailedRun, Run
from edgewright.profiler.transports.ssh import SshTransport

pytestmark = [pytest.mark.device, pytest.mark.timeout(300)]

MEMORY_MB = 448
# Long enough for what happens meanwhile.
SAMPLING = Sampling(
    queries=10**6, seconds=4, both=False, min_rounds=4, min_queries=20, cold_starts=1,
    warm_up_queries=2, warm_up_s=0.01, warm_up_max_s=0.1,
)  # fmt: skip
SETTINGS = MeasureSettings(sampling=SAMPLING, deadline_s=120, quiet_s=2)
ENDLESS = replace(SETTINGS, sampling=replace(SAMPLING, seconds=100))


@pytest.fixture(scope="module")
def board() -> Iterator[WholeBoard]:
    with start_virt(MEMORY_MB) as board:
        yield board


@dataclass
class Bench:
    """A board, and a model to measure there while something happens."""

    board: WholeBoard
    model: MeasuredModel

    def __post_init__(self) -> None:
        self.told: list[str] = []

    def measure(
        self,
        *meanwhile: Callable[[], Any],
        settings: MeasureSettings = SETTINGS,
        model: MeasuredModel | None = None,
    ) -> Run:
        """Measures; does what is to be done meanwhile after the first blocks of inferences."""
        self.told = []
        actions = list(meanwhile)

        def watch(event: ProgressEvent) -> None:
            self.told.append(event.message)
            if event.phase == "measure" and actions:
                actions.pop(0)()

        with closing(SshTransport(self.board.url)) as transport:
            [run] = measure(transport, [model or self.model], settings, watch)
        assert not isinstance(run, FailedRun)
        return run

    def is_clean(self) -> bool:
        """Whether nothing runs or lies on the board but the cache."""
        left = self.board.execute("ls ~/.cache/edgewright/runs; pgrep -f [e]dgewright")
        names = self.board.execute("ls ~/.cache/edgewright").stdout.split()
        return left.stdout == "" and set(names) <= {"blobs", "runs", "lock"}


@pytest.fixture
def bench(board: WholeBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
    return Bench(board, measured(greedy(tmp_path / "m.onnx", 0.004)))


def test_the_device_is_restarted_in_the_middle(bench: Bench) -> None:
    def pull_the_plug() -> None:
        bench.board.reboot(hard=True, wait=False)

    with pytest.raises(DeviceRestarted, match="was restarted during the measurement") as caught:
        bench.measure(pull_the_plug)
    assert caught.value.exit_code == 3
    assert any("connection lost" in message for message in bench.told)
    assert bench.is_clean()
    run = bench.measure()
    assert not any("picking up" in message for message in bench.told)
    # What was on its way to the disk when the power went is there, and whole.
    assert any(message.startswith("sent 0 bytes") for message in bench.told), bench.told
    assert run.device.model == "linux,dummy-virt" and run.device.emulated
    assert run.correctness.status == "passed"


def test_a_model_takes_more_memory_than_there_is(bench: Bench, tmp_path: Path) -> None:
    large = measured(greedy(tmp_path / "large.onnx", 0.36), check=False)
    with pytest.raises(DeviceOutOfMemory, match="SIGKILL") as caught:
        bench.measure(model=large)
    assert caught.value.exit_code == 3
    assert "oom_kill 0" not in bench.board.execute("cat /proc/vmstat").stdout
    assert bench.is_clean()


@pytest.mark.parametrize("signal", ["SEGV", "KILL"])
def test_a_crash_is_no_lack_of_memory(bench: Bench, signal: str) -> None:
    with pytest.raises(AgentFailed, match=f"SIG{signal}"):
        bench.measure(
            lambda: bench.board.execute(f"pkill -{signal} -f '[w]orker$'"), settings=ENDLESS
        )
    assert bench.is_clean()


def test_the_kernel_ends_the_one_that_would_tell(bench: Bench) -> None:
    def let_it_be_ended() -> None:
        choose = "for p in $(pgrep -f 'run .*lock-fd'); do echo 1000 > /proc/$p/oom_score_adj; done"
        # What the kernel does when its memory runs out, asked for: a board that is really short of
        # it may take minutes to get there.
        bench.board.execute(f"{choose}; echo f > /proc/sysrq-trigger", user="root")

    with pytest.raises(DeviceOutOfMemory, match="ran out of memory and ended the measurement"):
        bench.measure(let_it_be_ended, settings=ENDLESS)
    assert bench.is_clean()


def test_the_clock_jumps_in_the_middle(bench: Bench) -> None:
    before = datetime.now(UTC)
    run = bench.measure(
        lambda: bench.board.shift_clock(9 * 3600), lambda: bench.board.shift_clock(-18 * 3600)
    )
    bench.board.shift_clock(9 * 3600)
    assert before < datetime.fromisoformat(run.started_at) < datetime.now(UTC)
    assert 4 <= sum(run.samples_ms) / 1e3 < 60 and max(run.samples_ms) < 60e3
    assert all(0 <= moment.at_s < 100 for moment in run.conditions)
    assert bench.is_clean()


class HostGone(Exception):
    """In place of a host that dies."""


@pytest.mark.parametrize(("hours", "pick_up_s", "is_picked_up"), [(9, 3600, True), (-9, 1, False)])
def test_a_result_is_as_old_as_it_is_whatever_the_clock_says(
    bench: Bench, hours: int, pick_up_s: float, is_picked_up: bool
) -> None:
    def vanish() -> None:
        raise HostGone

    with pytest.raises(HostGone):
        bench.measure(vanish)
    wait = "until ls ~/.cache/edgewright/runs/*/result.json 2>/dev/null; do sleep 0.2; done"
    assert bench.board.execute(wait).exit_code == 0
    bench.board.shift_clock(hours * 3600)
    bench.measure(settings=replace(SETTINGS, pick_up_s=pick_up_s))
    bench.board.shift_clock(-hours * 3600)
    assert any("picking up" in told for told in bench.told) == is_picked_up, bench.told
    assert bench.is_clean()


def fill(device: SshDevice, leaving_kib: int) -> None:
    """Lets the disk be full for the user but for so much."""
    free = "df --output=avail -k / | tail -1"
    fill = f"fallocate -l $(( ($({free}) - {leaving_kib}) * 1024 )) /filling && sync"
    assert device.execute(fill, user="root").exit_code == 0


def test_the_disk_is_full(bench: Bench, tmp_path: Path) -> None:
    other = measured(greedy(tmp_path / "other.onnx", 0.003))
    try:
        fill(bench.board, leaving_kib=512)
        with pytest.raises(NoSpaceOnDevice):
            bench.measure(model=other)
        assert bench.is_clean()
    finally:
        bench.board.execute("rm /filling", user="root")


def test_the_disk_becomes_full_in_the_middle(bench: Bench) -> None:
    try:
        with pytest.raises(DeviceError) as caught:
            bench.measure(lambda: fill(bench.board, leaving_kib=0))
        assert isinstance(caught.value, NoSpaceOnDevice), caught.value
        assert bench.is_clean()
    finally:
        bench.board.execute("rm /filling", user="root")
