"""Putting host keys on record, with real servers and OpenSSH's own programs as the judges."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from devices.base import SshDevice, free_port, public_half
from devices.inprocess import start_inprocess
from devices.sshd import start_sshd

from edgewright.errors import HostKeyMismatch, Unreachable, UsageError
from edgewright.profiler.transports import open_transport
from edgewright.profiler.transports.ssh_trust import Offer, accept_host_key

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="OpenSSH's client is missing"),
]


@pytest.fixture
def device() -> Iterator[SshDevice]:
    with start_sshd() as device:
        yield device


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: SshDevice) -> Path:
    """A home without known hosts, and with the key to the device."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("SSH_AUTH_SOCK", "EDGEWRIGHT_SSH_PASSWORD", "EDGEWRIGHT_SSH_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    key = home / ".ssh" / "id_ed25519"
    key.write_bytes(device.key_path.read_bytes())
    key.chmod(0o600)
    return home


def known_hosts(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def configure(home: Path, *lines: str) -> None:
    (home / ".ssh" / "config").write_text("\n".join(lines) + "\n")


def fingerprint(device: SshDevice) -> str:
    command = ["ssh-keygen", "-lf", str(public_half(device.host_key_path))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


def says_hello(address: str) -> bool:
    transport = open_transport(address)
    try:
        return transport.run(["echo", "hello"]).stdout == "hello\n"
    finally:
        transport.close()


def found_by_openssh(home: Path, name: str) -> bool:
    command = ["ssh-keygen", "-F", name, "-f", str(known_hosts(home))]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_new_host_is_put_on_record_once(device: SshDevice, home: Path) -> None:
    offers: list[Offer] = []

    def confirm(offer: Offer) -> bool:
        offers.append(offer)
        return True

    assert accept_host_key(device.url, confirm) == fingerprint(device)
    [offer] = offers
    assert offer.fingerprint == fingerprint(device) and offer.server == device.url[6:]
    assert offer.path == known_hosts(home)
    assert known_hosts(home).read_text() == device.known_hosts_path.read_text()
    assert known_hosts(home).stat().st_mode & 0o777 == 0o600
    assert says_hello(device.url)
    assert accept_host_key(device.url, confirm) == fingerprint(device)
    assert len(offers) == len(known_hosts(home).read_text().splitlines()) == 1


def test_without_consent_nothing_is_written(device: SshDevice, home: Path) -> None:
    with pytest.raises(HostKeyMismatch, match="was not accepted"):
        accept_host_key(device.url, lambda offer: False)
    assert not known_hosts(home).exists()


def test_a_changed_key_is_refused(device: SshDevice, home: Path) -> None:
    accept_host_key(device.url)
    before = known_hosts(home).read_text()
    device.change_host_key()
    with pytest.raises(HostKeyMismatch, match="HAS CHANGED"):
        accept_host_key(device.url)
    assert known_hosts(home).read_text() == before


def test_a_revoked_key_is_refused_and_another_accepted(device: SshDevice, home: Path) -> None:
    known_hosts(home).write_text("@revoked " + device.known_hosts_path.read_text())
    with pytest.raises(HostKeyMismatch, match="marked as revoked"):
        accept_host_key(device.url)
    device.change_host_key()
    assert accept_host_key(device.url) == fingerprint(device)
    assert says_hello(device.url)


@pytest.mark.parametrize("reason", ["configuration", "file"])
def test_names_are_hashed_where_the_user_wants_it(
    reason: str, device: SshDevice, home: Path
) -> None:
    if reason == "configuration":
        configure(home, "HashKnownHosts yes")
    else:
        known_hosts(home).write_text("elsewhere ssh-ed25519 AAAA")  # without an end of line
        subprocess.run(
            ["ssh-keygen", "-H", "-f", str(known_hosts(home))], check=True, capture_output=True
        )
        known_hosts(home).write_text(known_hosts(home).read_text().rstrip())
    accept_host_key(device.url)
    line = known_hosts(home).read_text().splitlines()[-1]
    assert line.startswith("|1|") and "127.0.0.1" not in line
    assert found_by_openssh(home, f"[127.0.0.1]:{device.port}")
    assert says_hello(device.url)


def test_the_way_through_a_jump_host(device: SshDevice, home: Path) -> None:
    with start_inprocess() as board:
        configure(
            home,
            f"IdentityFile {device.key_path}",
            f"IdentityFile {board.key_path}",
            f"Host board\n  HostName 127.0.0.1\n  Port {board.port}\n  User {board.user}",
            f"  HostKeyAlias my-board\n  ProxyJump {device.url}",
        )
        with pytest.raises(HostKeyMismatch, match="is unknown") as raised:
            says_hello("ssh://board")
        assert "edgewright devices trust ssh://board" in str(raised.value.hint)
        servers: list[str] = []
        accept_host_key("ssh://board", lambda offer: servers.append(offer.server) or True)
        assert servers == [device.url[6:], board.url[6:]]
        assert found_by_openssh(home, "my-board")
        assert says_hello("ssh://board")


def test_what_can_not_be_is_explained(device: SshDevice, home: Path) -> None:
    with pytest.raises(Unreachable, match="nothing listens there"):
        accept_host_key(f"ssh://127.0.0.1:{free_port()}")
    configure(home, "UserKnownHostsFile /dev/null")
    with pytest.raises(UsageError, match="would keep nothing"):
        accept_host_key(device.url)
    configure(home, f"UserKnownHostsFile {home}/.ssh/id_ed25519/known_hosts")
    with pytest.raises(UsageError, match="Not a directory"):
        accept_host_key(device.url)
