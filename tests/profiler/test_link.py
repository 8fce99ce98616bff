"""Links to a real SSH server that are cut or fall silent, and what a measurement makes of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from devices.processes import all_processes, wait_until
from devices.proxy import Proxy
from devices.sshd import SshdDevice
from onnx import helper
from small_models import SECONDS, SHORT, matmul, measured, save

from edgewright.errors import Unreachable
from edgewright.profiler.blobs import Blob, deploy
from edgewright.profiler.deploy import install_agent
from edgewright.profiler.job import MeasureSettings, ProgressEvent, Sampling
from edgewright.profiler.measure import measure
from edgewright.profiler.result import Run
from edgewright.profiler.transports import Transport, open_transport

pytestmark = pytest.mark.device
SIZE = 20_000_000
#: What SSH and the commands around a copy may take.
OVERHEAD = 200_000
#: What may have left here, and been lost on the way, when a link is cut: buffers of kernels and of
#: the SSH server.
IN_FLIGHT = 6_000_000


@pytest.fixture
def cable(
    real_sshd_device: SshdDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    device = real_sshd_device
    config = tmp_path / "config"
    config.write_text(
        f"HostKeyAlias [{device.host}]:{device.port}\nServerAliveInterval 1\n"
        f"ServerAliveCountMax 2\nConnectTimeout 2\n{device.ssh_config_path.read_text()}"
    )
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(config))
    with Proxy(device.port) as proxy:
        yield proxy


@pytest.fixture
def transport(cable: Proxy, real_sshd_device: SshdDevice) -> Iterator[Transport]:
    transport = open_transport(f"ssh://{real_sshd_device.user}@127.0.0.1:{cable.port}")
    yield transport
    transport.close()


def settings(sampling: Sampling, **more: object) -> MeasureSettings:
    plain = MeasureSettings(sampling=sampling, poll_s=0.1, deadline_s=60)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_cut_copy_goes_on_where_it_was(
    cable: Proxy, transport: Transport, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(SIZE))
    model = Blob.of(path)
    agent = install_agent(transport)
    before = cable.up.carried
    cable.up.fault_after(SIZE // 2, cable.cut)
    with pytest.raises(Unreachable):
        deploy(agent, [model])
    with pytest.raises(Unreachable, match="connection refused"):
        deploy(agent, [model])
    cable.restore()
    deployed = deploy(agent, [model])
    crossed = cable.up.carried - before
    assert SIZE <= crossed < SIZE + IN_FLIGHT + OVERHEAD
    assert SIZE // 2 - IN_FLIGHT < deployed.reused_bytes <= SIZE // 2
    assert Path(deployed.paths[0]).read_bytes() == path.read_bytes()
    before = cable.up.carried
    again = deploy(install_agent(transport), [model])
    assert again.sent_bytes == 0
    assert cable.up.carried - before < OVERHEAD


def test_what_arrives_late_of_a_lost_copy_does_no_harm(
    cable: Proxy, transport: Transport, real_sshd_device: SshdDevice, tmp_path: Path
) -> None:
    source, target = tmp_path / "model", Path(real_sshd_device.home) / "model"
    source.write_bytes(os.urandom(SIZE))
    transport.run(["true"])
    cable.up.fault_after(SIZE // 4, cable.silence)
    with pytest.raises(Unreachable, match="has been silent"):
        transport.push(source, "model", resume=True)
    before = cable.up.carried
    direct = open_transport(real_sshd_device.url)
    direct.push(source, "model", resume=True)
    direct.close()
    assert target.read_bytes() == source.read_bytes()
    changed = target.stat().st_mtime_ns
    cable.restore()  # what was on its way reaches the device, which still waits for it
    wait_until(lambda: target.stat().st_mtime_ns > changed)
    wait_until(lambda: not processes_that_have_open(target))
    assert cable.up.carried > before
    assert target.read_bytes() == source.read_bytes()


def processes_that_have_open(path: Path) -> list[int]:
    found = []
    for pid in all_processes():
        with suppress(OSError):
            if any(entry.resolve() == path for entry in Path(f"/proc/{pid}/fd").iterdir()):
                found.append(pid)
    return found


def test_a_measurement_whose_link_is_cut_in_the_push(
    cable: Proxy, transport: Transport, tmp_path: Path
) -> None:
    ballast = np.random.default_rng(1).normal(size=SIZE // 8)
    weights = np.ones((16, 16), np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = measured(save(tmp_path / "m.onnx", [node], w=weights, ballast=ballast))

    def cut() -> None:
        cable.cut()
        threading.Timer(0.1, cable.restore).start()

    cable.up.fault_after(SIZE // 2, cut)
    events: list[ProgressEvent] = []
    [run] = measure(transport, [model], settings(SHORT), events.append)
    assert isinstance(run, Run) and run.correctness.status == "passed"
    assert "lost" in [event.phase for event in events]
    assert cable.up.carried < SIZE + IN_FLIGHT + 2 * OVERHEAD


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_a_measurement_whose_link_fails_in_the_run(
    fault: str, cable: Proxy, transport: Transport, tmp_path: Path
) -> None:
    events: list[ProgressEvent] = []

    def disturb(event: ProgressEvent) -> None:
        if event.phase == "measure" and "lost" not in [e.phase for e in events]:
            cable.cut() if fault == "cut" else cable.silence()
        if event.phase == "lost":
            cable.restore()
        events.append(event)

    model = measured(matmul(tmp_path / "m.onnx"))
    [run] = measure(transport, [model], settings(SECONDS), disturb)
    assert isinstance(run, Run) and run.correctness.status == "passed"
    assert [event.phase for event in events].count("lost") == 1


def test_a_link_that_does_not_come_back_in_time(
    cable: Proxy, transport: Transport, tmp_path: Path
) -> None:
    def cut(event: ProgressEvent) -> None:
        if event.phase == "measure":
            cable.cut()

    model = measured(matmul(tmp_path / "m.onnx"))
    asked = settings(SECONDS, reconnect_s=1)
    with pytest.raises(Unreachable, match="connection refused") as raised:
        measure(transport, [model], asked, cut)
    assert "the same command" in str(raised.value.hint)
    cable.restore()
    events: list[ProgressEvent] = []
    [run] = measure(transport, [model], asked, events.append)
    assert isinstance(run, Run) and run.correctness.status == "passed"
    assert "picking up the measurement that is on the device" in [e.message for e in events]
