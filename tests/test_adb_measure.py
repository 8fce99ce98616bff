"""A measurement on a phone goes on when the way to it is lost, and its result arrives."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from devices.adbd import AdbPhone, AdbPhoneFactory
from devices.own_runtimes import own_runtime
from devices.processes import wait_until

from edgewright.pipeline import profile
from edgewright.profiler.job import MeasureSettings, ProgressEvent, Sampling

TFLITE = Path(__file__).parent / "golden" / "tiny_int8.tflite"
HALF_A_MINUTE = Sampling(
    queries=4, seconds=30, both=True, min_rounds=2, min_queries=4, warm_up_queries=1, warm_up_s=0
)

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]


def cut_and_restored(phone: AdbPhone) -> None:
    phone.cut_link()
    threading.Timer(5.0, phone.restore_link).start()


def restarted(phone: AdbPhone) -> None:
    phone.kill_adbd()
    phone.start_adbd()


def forgotten_by_the_server(phone: AdbPhone) -> None:
    phone.server.stop()
    phone.server.start()


def test_links_lost_in_a_measurement(
    adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.profiler.transports.adb_stream.SILENCE_S", 0.5)
    monkeypatch.setattr("edgewright.profiler.transports.adb.LIFE_TIMEOUT_S", 1.0)
    own_runtime(monkeypatch, "aarch64", "ai_edge_litert")
    phone = adb_phone()
    faults = [forgotten_by_the_server, restarted, cut_and_restored]

    def break_it(event: ProgressEvent) -> None:
        if event.phase == "measure" and faults:
            faults.pop()(phone)

    run = profile(TFLITE, phone.address, MeasureSettings(sampling=HALF_A_MINUTE), break_it)
    assert not faults
    assert run.correctness.status == "passed"
    assert len(run.samples_ms) >= 4
    assert list((phone.home / "edgewright/runs").iterdir()) == []
    wait_until(lambda: not phone.processes())
