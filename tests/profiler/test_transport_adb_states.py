"""Devices over ADB that can't be used: each state is told apart, with what to do."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import adbutils.errors
import pytest
from devices.adbd import AdbPhone, start_adb_phone
from devices.adbd_proxy import AuthorizingProxy
from devices.adbd_server import ALONE, AdbServer, bundled_adb
from devices.base import LOOPBACK, free_port
from devices.processes import wait_until

from edgewright.errors import (
    DeviceError,
    DeviceTimeout,
    EdgewrightError,
    Unauthorized,
    Unreachable,
    UsageError,
)
from edgewright.profiler.device_shell import shell_command
from edgewright.profiler.transports import open_transport
from edgewright.profiler.transports.adb_errors import connect_error, device_error, library_errors
from edgewright.profiler.transports.adb_server import ServerAddress, server_address

VARIABLES = (
    *("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT"),
    *("ADBUTILS_ADB_PATH", "ANDROID_SERIAL"),
)


@pytest.fixture(autouse=True)
def nobody_s_server(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port on which there is no adb server."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    port = free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    return port


@pytest.fixture(scope="module")
def lasting_phone() -> Iterator[AdbPhone]:
    with start_adb_phone() as phone:
        yield phone


@pytest.fixture
def phone(lasting_phone: AdbPhone, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbPhone]:
    """A phone that the tests share, and of which its adb server knows nothing yet."""
    for variable, value in lasting_phone.server.environment.items():
        monkeypatch.setenv(variable, value)
    yield lasting_phone
    lasting_phone.server.command("disconnect")


@pytest.fixture
def proxy(phone: AdbPhone) -> Iterator[AuthorizingProxy]:
    """The way to the phone for those whom it allows."""
    proxy = AuthorizingProxy(*phone.listens_at)
    yield proxy
    proxy.close()


def says(address: str) -> bool:
    return open_transport(address).run(["echo", "hello"]).stdout == "hello\n"


def failure(address: str) -> EdgewrightError:
    with pytest.raises(EdgewrightError) as caught:
        open_transport(address).run(["true"])
    assert address in str(caught.value) or "adb" in str(caught.value)
    return caught.value


def state_of(phone: AdbPhone, serial: str) -> str:
    lines = phone.server.command("devices").splitlines()
    return next((line.split("\t")[1] for line in lines if line.startswith(serial)), "")


# The devices that there are


@pytest.mark.device
def test_no_device(phone: AdbPhone) -> None:
    for address in ("adb://", "adb://R58M123ABC"):
        error = failure(address)
        assert isinstance(error, Unreachable) and error.transient
        assert "no device is connected" in str(error)
        assert "USB debugging" in str(error.hint)


@pytest.mark.device
def test_the_only_device_and_its_serial_number(phone: AdbPhone) -> None:
    phone.server.command("connect", phone.serial)
    assert says("adb://") and says(phone.address)


@pytest.mark.device
def test_several_devices(
    phone: AdbPhone, proxy: AuthorizingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.allow()
    phone.server.command("connect", phone.serial)
    phone.server.command("connect", f"emu:7554,{proxy.port}")
    wait_until(lambda: state_of(phone, "emulator-7554") == "device")
    error = failure("adb://")
    assert isinstance(error, UsageError)
    assert "several devices are connected" in str(error)
    assert f"adb://{phone.serial}, adb://emulator-7554" in str(error.hint)
    assert says("adb://emulator-7554")
    monkeypatch.setenv("ANDROID_SERIAL", "emulator-7554")  # adb's own way to choose
    assert says("adb://")
    unknown = failure("adb://emulator-7545")
    assert isinstance(unknown, Unreachable)
    assert "did you mean adb://emulator-7554?" in str(unknown.hint)
    assert phone.serial in str(unknown.hint)


@pytest.mark.device
def test_a_device_that_asks_on_its_screen(phone: AdbPhone, proxy: AuthorizingProxy) -> None:
    error = failure(f"adb://{proxy.serial}")
    assert isinstance(error, Unauthorized) and not error.transient
    assert "look at its screen and allow USB debugging" in str(error.hint)
    assert state_of(phone, proxy.serial) == "unauthorized"
    assert isinstance(failure(f"adb://{proxy.serial}"), Unauthorized)
    assert isinstance(failure("adb://"), Unauthorized)
    assert proxy.public_keys
    proxy.allow()
    wait_until(lambda: state_of(phone, proxy.serial) == "device")
    assert says(f"adb://{proxy.serial}") and says("adb://")


@pytest.mark.device
def test_a_device_that_is_offline(phone: AdbPhone) -> None:
    phone.server.command("connect", phone.serial)
    phone.kill_adbd()
    try:
        wait_until(lambda: state_of(phone, phone.serial) == "offline")
        error = failure("adb://")
        assert isinstance(error, Unreachable) and error.transient
        assert "the device is offline" in str(error) and error.hint
        refused = failure(phone.address)  # this way it can be connected to again: it is tried
        assert isinstance(refused, Unreachable)
        assert "nothing listens there" in str(refused)
        assert "wireless debugging" in str(refused.hint)
    finally:
        phone.start_adbd()
    assert says(phone.address)


@pytest.mark.device
def test_a_wireless_device_out_of_reach(phone: AdbPhone) -> None:
    phone.cut_link()
    try:
        error = failure(phone.address)
    finally:
        phone.restore_link()
    assert isinstance(error, Unreachable)
    assert "did not answer in time" in str(error) or "no route" in str(error)
    assert state_of(phone, phone.serial) == ""  # it is not left behind as offline
    unknown = failure("adb://no-such-host.invalid:5555")
    assert "the host's name is not known" in str(unknown)


@pytest.mark.device
@pytest.mark.parametrize("named", [True, False])
def test_a_shell_for_a_person(phone: AdbPhone, named: bool) -> None:
    if not named:
        phone.server.command("connect", phone.serial)
    words = shell_command(phone.address if named else "adb://")
    done = subprocess.run(
        words, input="echo $KSH_VERSION; exit 3\n", capture_output=True, text=True
    )
    assert (done.returncode, "MIRBSD" in done.stdout) == (3, True)


# The adb server


@pytest.mark.device
def test_a_server_is_started_where_none_runs(
    nobody_s_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {**ALONE, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}.items():
        monkeypatch.setenv(variable, value)
    try:
        assert "no device is connected" in str(failure("adb://"))
        with socket.create_connection((LOOPBACK, nobody_s_server)):
            pass
    finally:
        stop = [str(bundled_adb()), "-P", str(nobody_s_server), "kill-server"]
        subprocess.run(stop, check=True)


@pytest.mark.device
def test_a_running_server_is_used_as_adb_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")  # another can't be started
    monkeypatch.delenv("ANDROID_ADB_SERVER_PORT")
    server = AdbServer(tmp_path)
    server.start()
    try:
        for variable, value in (
            ("ANDROID_ADB_SERVER_PORT", f"{server.port}"),
            ("ADB_SERVER_SOCKET", f"tcp:{server.port}"),
            ("ADB_SERVER_SOCKET", f"tcp:localhost:{server.port}"),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(variable, value)
                assert "no device is connected" in str(failure("adb://"))
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "127.0.0.1:5037"),
        ({"ANDROID_ADB_SERVER_PORT": "5038"}, "127.0.0.1:5038"),
        ({"ANDROID_ADB_SERVER_ADDRESS": "lab"}, "lab:5037"),
        ({"ADB_SERVER_SOCKET": "tcp:lab:1", "ANDROID_ADB_SERVER_PORT": "2"}, "lab:1"),
    ],
)
def test_where_the_server_is(environment: dict[str, str], expected: str) -> None:
    assert str(server_address(environment)) == expected
    assert server_address({}) == ServerAddress("127.0.0.1", 5037)


@pytest.mark.parametrize(
    "environment",
    [
        {"ANDROID_ADB_SERVER_PORT": "adb"},
        {"ADB_SERVER_SOCKET": "tcp:99999"},
        {"ADB_SERVER_SOCKET": "localfilesystem:/run/adb"},
    ],
)
def test_a_server_that_can_not_be_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(environment))):
        server_address(environment)


def test_a_server_that_can_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as occupied:
        occupied.bind((LOOPBACK, 0))  # and it does not listen
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(occupied.getsockname()[1]))
        error = failure("adb://")
        assert isinstance(error, Unreachable)
        assert "the adb server can't be started: " in str(error)
        assert "start-server` work?" in str(error.hint)
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/no/such/adb")
    assert "can't be started" in str(failure("adb://"))
    monkeypatch.setenv("ANDROID_ADB_SERVER_ADDRESS", "192.0.2.1")
    monkeypatch.setattr("edgewright.profiler.transports.adb_server.REACH_TIMEOUT_S", 0.2)
    elsewhere = failure("adb://")
    assert isinstance(elsewhere, Unreachable)
    assert "no adb server answers at 192.0.2.1" in str(elsewhere)
    assert "ANDROID_ADB_SERVER_ADDRESS" in str(elsewhere.hint)


def test_a_machine_without_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("adbutils._utils._get_bin_dir", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failure("adb://")
    assert "there is no adb on PATH" in str(error)
    assert "platform tools" in str(error.hint)


@contextmanager
def server_that_answers(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes], other: bytes = b""
) -> Iterator[None]:
    """A server that speaks adb's protocol (or not): a length, a request, then what it answers."""
    listener = socket.create_server((LOOPBACK, 0))
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{listener.getsockname()[1]}")

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError):
                    size = int(client.recv(4) or b"0", 16)
                    client.sendall(answers.get(client.recv(size).decode(), other))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def okay(text: str) -> bytes:
    return b"OKAY%04x" % len(text) + text.encode()


# In the words of adb 29 to 36.
@pytest.mark.parametrize(
    ("state", "kind", "message", "hint"),
    [
        (
            "no permissions (user in plugdev group; are your udev rules wrong?); see "
            "[http://developer.android.com/tools/device.html]",
            DeviceError,
            "may not open the USB device",
            "android-sdk-platform-tools-common",
        ),
        ("no permissions", DeviceError, "may not open the USB device", "plugdev"),
        ("unauthorized", Unauthorized, "has not allowed this computer", "look at its screen"),
        ("authorizing", Unauthorized, "has not allowed this computer", "look at its screen"),
        ("offline", Unreachable, "the device is offline", "plug it in again"),
        ("connecting", Unreachable, "the device is offline", "plug it in again"),
        ("recovery", Unreachable, "in recovery mode", "adb reboot"),
        ("bootloader", Unreachable, "in its boot loader", "adb reboot"),
        ("sideload", Unreachable, "in sideload mode", "adb reboot"),
        ("host", Unreachable, "in the state 'host'", "adb reboot"),
    ],
)
@pytest.mark.parametrize("address", ["adb://", "adb://R58M123ABC"])
def test_states(
    address: str,
    state: str,
    kind: type[DeviceError],
    message: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgewright.profiler.transports.adb_link.SETTLE_TIMEOUT_S", 0.0)
    with server_that_answers(monkeypatch, {"host:devices": okay(f"R58M123ABC\t{state}\n")}):
        error = failure(address)
    assert type(error) is kind
    assert message in str(error) and hint in str(error.hint)


def test_a_device_too_old_to_tell_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "host:devices": okay("R58M123ABC\tdevice\n"),
        "host-serial:R58M123ABC:features": okay("cmd,stat_v2"),
    }
    with server_that_answers(monkeypatch, answers):
        error = failure("adb://")
    assert "too old" in str(error) and "Android 7" in str(error.hint)


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"OKAYzzzz", b"\0" * 64])
def test_another_program_on_the_port(monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
    with server_that_answers(monkeypatch, {}, garbage):
        error = failure("adb://")
    assert type(error) is DeviceError
    assert "does not speak adb's protocol" in str(error) and "port" in str(error.hint)


def test_a_server_that_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_that_answers(monkeypatch, {}):
        assert isinstance(failure("adb://"), Unreachable)


def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.profiler.transports.adb_server.ANSWER_TIMEOUT_S", 0.2)
    with socket.create_server((LOOPBACK, 0)) as silent:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{silent.getsockname()[1]}")
        assert isinstance(failure("adb://"), DeviceTimeout)


# adbutils' exceptions


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += subclasses(below)
    return found


def test_every_adbutils_exception_is_mapped() -> None:
    errors: list[BaseException] = [
        kind("the reason") for kind in subclasses(adbutils.errors.AdbError)
    ]
    assert len(errors) >= 5
    errors += [
        *(OSError(number, os.strerror(number)) for number in (errno.ECONNREFUSED, errno.EPIPE)),
        *(TimeoutError("timed out"), EOFError("Expected 5 bytes, got 0"), ConnectionResetError()),
        *(ValueError("invalid literal for int() with base 16: 'zzzz'"),),
        *(subprocess.TimeoutExpired(["adb", "start-server"], 20.0),),
    ]
    for error in errors:
        assert isinstance(error, library_errors())
        ours = device_error(error, "adb://R58M123ABC")
        assert ours.message.startswith("adb://R58M123ABC: ")
        assert type(error).__name__ not in str(ours)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("device 'R58M123ABC' not found", Unreachable),
        ("device offline", Unreachable),
        ("device offline (no transport)", Unreachable),
        ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", Unauthorized),
        ("insufficient permissions for device: user in plugdev group", DeviceError),
        ("closed", Unreachable),
        ("Unknown data: b''", Unreachable),
        ("Unknown data: b'SSH-'", DeviceError),
        ("something new", Unreachable),
    ],
)
def test_what_the_server_says_is_mapped(said: str, kind: type[DeviceError]) -> None:
    assert type(device_error(adbutils.errors.AdbError(said), "adb://x")) is kind


# Of adb 29 and 36.
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("connected to 192.0.2.7:5555", None),
        ("already connected to 192.0.2.7:5555", None),
        ("failed to authenticate to 192.0.2.7:5555", "has not allowed this computer"),
        ("failed to connect to '192.0.2.7:5555': Connection refused", "nothing listens there"),
        ("failed to connect to '192.0.2.7:5555': No route to host", "no route"),
        ("failed to connect to '192.0.2.7:5555': Network is unreachable", "no route"),
        ("failed to connect to '192.0.2.7:5555': Operation timed out", "did not answer in time"),
        ("failed to connect to 192.0.2.7:5555", "did not answer in time"),
        ("cannot resolve host '192.0.2.7' and port 5555: Name or service not known", "not known"),
        ("bad port number '0'", "adb says: bad port number"),
    ],
)
def test_what_connecting_says_is_mapped(said: str, message: str | None) -> None:
    error = connect_error(said, "adb://192.0.2.7:5555")
    assert (error is None) is (message is None)
    assert message is None or message in str(error)
