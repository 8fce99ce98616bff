"""Fixtures for everybody: devices to deploy to and to measure on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from devices.adbd import AdbPhone, AdbPhoneFactory, start_adb_phone
from devices.arm64 import Arm64Device, Arm64Factory, Runtimes, start_arm64
from devices.armv7 import start_armv7
from devices.base import DeviceUnavailable, SshDevice
from devices.chroot_board import ChrootDevice
from devices.inprocess import InProcessDevice, start_inprocess
from devices.sshd import SshdDevice, start_sshd
from devices.virt import MEMORY_MB, VirtFactory, start_virt
from devices.whole_board import WholeBoard
from hypothesis import HealthCheck, settings

REQUIRE_DEVICES = "EDGEWRIGHT_REQUIRE_DEVICES"
"""Set to 1 where every device is expected to be there: a missing one fails its tests."""

_WITH_BOARDS = ("test_devices_virt", "test_faults_boards", "test_raspi3b")

# How long an example takes is a matter of what else the machine does.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may run side by side (`-n 2`): everything, but whole boards one after another.

    They take longest and come first, then the other devices, so that no worker is left alone with
    them at the end.
    """
    boards = [item for item in items if item.path.stem in _WITH_BOARDS]
    for item in boards:
        item.add_marker(pytest.mark.xdist_group("boards"))
    devices = {item.path for item in items if item.get_closest_marker("device")}
    items.sort(key=lambda item: (item not in boards, item.path not in devices))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    try:
        yield
    except DeviceUnavailable as reason:
        skip_or_fail(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    try:
        yield
    except DeviceUnavailable as reason:
        skip_or_fail(reason)


def skip_or_fail(reason: DeviceUnavailable) -> NoReturn:
    """Skip for want of a device, unless the devices are required."""
    if os.environ.get(REQUIRE_DEVICES) == "1":
        pytest.fail(f"device unavailable: {reason}", pytrace=False)
    pytest.skip(f"device unavailable: {reason}")


@pytest.fixture(autouse=True)
def no_own_runtimes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the developer has built is not what a test brings to a device."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "edgewright-cache"))


@pytest.fixture
def real_sshd_device() -> Iterator[SshdDevice]:
    """This machine behind its own OpenSSH server."""
    with start_sshd() as device:
        yield device


@pytest.fixture
def inprocess_device() -> Iterator[InProcessDevice]:
    """This machine behind an SSH server inside the test process."""
    with start_inprocess() as device:
        yield device


@pytest.fixture
def sshd_device() -> Iterator[SshDevice]:
    """This machine over SSH: behind OpenSSH where it is installed, else in-process."""
    with ExitStack() as cleanup:
        try:
            device: SshDevice = cleanup.enter_context(start_sshd())
        except DeviceUnavailable:
            device = cleanup.enter_context(start_inprocess())
        yield device


@pytest.fixture
def arm64_device() -> Iterator[Arm64Factory]:
    """Emulated Raspberry Pi boards; see `devices.arm64.start_arm64` for the arguments."""
    with ExitStack() as cleanup:

        def start(runtimes: Runtimes = "modern", home_size_mb: int | None = None) -> Arm64Device:
            return cleanup.enter_context(start_arm64(runtimes, home_size_mb))

        yield start


@pytest.fixture
def armv7_device() -> Iterator[ChrootDevice]:
    """An emulated 32-bit Raspberry Pi whose Python has tflite_runtime."""
    with start_armv7() as device:
        yield device


@pytest.fixture
def adb_phone(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbPhoneFactory]:
    """Emulated phones; the adb server of the last one started is what everybody then asks."""
    with ExitStack() as cleanup:

        def start(data_size_mb: int = 1024) -> AdbPhone:
            phone = cleanup.enter_context(start_adb_phone(data_size_mb))
            for variable in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_SERIAL"):
                monkeypatch.delenv(variable, raising=False)
            for variable, value in phone.server.environment.items():
                monkeypatch.setenv(variable, value)
            return phone

        yield start


@pytest.fixture
def virt_board() -> Iterator[VirtFactory]:
    """Whole emulated boards, which can be restarted; see `devices.virt.start_virt`."""
    with ExitStack() as cleanup:

        def start(memory_mb: int = MEMORY_MB) -> WholeBoard:
            return cleanup.enter_context(start_virt(memory_mb))

        yield start
