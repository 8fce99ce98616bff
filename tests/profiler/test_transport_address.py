"""Addresses of devices: what is understood, and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.transports import TRANSPORTS, open_transport
from edgewright.profiler.transports.adb_address import AdbAddress, parse_adb_address
from edgewright.profiler.transports.ssh_address import SshAddress, parse_ssh_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi", SshAddress("pi")),
        ("ssh://pi/", SshAddress("pi")),
        ("ssh://pi@raspberrypi.local", SshAddress("raspberrypi.local", "pi")),
        ("ssh://pi@192.0.2.7:2222", SshAddress("192.0.2.7", "pi", 2222)),
        ("ssh://[2001:db8::7]", SshAddress("2001:db8::7")),
        ("ssh://root@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "root", 22)),
        ("ssh://me@example.com@gateway", SshAddress("gateway", "me@example.com")),
        ("ssh://my_board-2", SshAddress("my_board-2")),
        ("ssh://gerät.example", SshAddress("gerät.example")),
    ],
)
def test_ssh_addresses(text: str, expected: SshAddress) -> None:
    assert parse_ssh_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://@pi",
        "ssh://pi:",
        "ssh://pi:ssh",
        "ssh://pi:0",
        "ssh://pi:65536",
        "ssh://pi:22:22",
        "ssh://pi/home",
        "ssh://2001:db8::7",
        "ssh://[2001:db8::7",
        "ssh://[pi]",
        "ssh://[fe80::1%$(id)]",
        "ssh://-oProxyCommand=id",
        "ssh://pi$(id)",
        "ssh://`id`@pi",
        "ssh://-l@pi",
        "ssh://a b",
        "ssh://pi\n",
    ],
)
def test_malformed_ssh_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_transport(text)
    assert "ssh://[user@]host[:port]" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "ssh://pi:s3cret@raspberrypi",
        "ssh://pi:s3cret@@raspberrypi:22",
        "ssh://pi:s3cret/@raspberrypi",
        "ssh://pi:22:s3cret@raspberrypi",
        "sssh://pi:s3cret@raspberrypi",
        "pi:s3cret@raspberrypi",
        "adb://pi:s3cret@raspberrypi",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_transport(text)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_the_way_to_give_a_password_is_told() -> None:
    with pytest.raises(UsageError, match="must not contain a password") as caught:
        open_transport("ssh://pi:s3cret@raspberrypi")
    assert "EDGEWRIGHT_SSH_PASSWORD" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("locla", "local"),
        ("localhost", "local"),
        ("raspberrypi", "ssh://raspberrypi"),
        ("pi@raspberrypi:22", "ssh://pi@raspberrypi:22"),
        ("shh://raspberrypi", "ssh://raspberrypi"),
        ("SSH://raspberrypi", "ssh://raspberrypi"),
    ],
)
def test_the_nearest_address_is_suggested(text: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_transport(text)
    hint = str(caught.value.hint)
    assert "local, ssh://[user@]host[:port]" in hint
    assert f"did you mean {meant!r}?" in hint


@pytest.mark.parametrize("text", ["", "http://device", "serial:/dev/ttyUSB0", "local://here"])
def test_other_addresses_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_transport(text)
    assert "local, ssh://" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adb://", AdbAddress()),
        ("adb://R58M123ABC", AdbAddress("R58M123ABC")),
        ("adb://R58M123ABC/", AdbAddress("R58M123ABC")),
        ("adb://emulator-5554", AdbAddress("emulator-5554")),
        ("adb://usb:1-4.2", AdbAddress("usb:1-4.2")),
        ("adb://adb-X1 (2)._adb-tls-connect._tcp", AdbAddress("adb-X1 (2)._adb-tls-connect._tcp")),
        ("adb://192.0.2.7:5555", AdbAddress("192.0.2.7:5555", is_network=True)),
        ("adb://phone.local:37099", AdbAddress("phone.local:37099", is_network=True)),
        ("adb://[2001:db8::7]:5555", AdbAddress("[2001:db8::7]:5555", is_network=True)),
        ("adb://[fe80::1%wlan0]:5555", AdbAddress("[fe80::1%wlan0]:5555", is_network=True)),
    ],
)
def test_adb_addresses(text: str, expected: AdbAddress) -> None:
    assert parse_adb_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "adb://192.0.2.7:0",
        "adb://192.0.2.7:65536",
        "adb://-s",
        "adb://a/b",
        "adb://$(id)",
        "adb://a;b",
        "adb://a\n",
        "adb://me@phone:5555",
    ],
)
def test_malformed_adb_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_transport(text)
    assert "adb://SERIAL, or adb://host:port" in str(caught.value.hint)


def test_adb_without_slashes_is_refused_with_the_forms() -> None:
    with pytest.raises(UsageError, match="neither a device of yours nor an address") as caught:
        open_transport("adb:R58M123ABC")
    assert "adb://[SERIAL or host:port]" in str(caught.value.hint)


def test_every_transport_in_the_table_opens() -> None:
    examples = {"local": "local", "ssh": "ssh://raspberrypi", "adb": "adb://"}
    assert examples.keys() == TRANSPORTS.keys()
    for address in examples.values():
        transport = open_transport(address)
        assert transport.address == address
        transport.close()


@pytest.mark.parametrize(("transport", "library"), [("ssh", "paramiko"), ("adb", "adbutils")])
def test_the_library_is_not_imported_before_it_is_needed(transport: str, library: str) -> None:
    script = f"import sys, edgewright.profiler.transports.{transport}; "
    script += f"print({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
