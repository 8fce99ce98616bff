"""Passphrases and passwords, typed on a real terminal by a process that looks at its screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from devices.base import SshDevice
from devices.inprocess import InProcessDevice, start_inprocess
from devices.sshd import start_sshd
from pseudo_terminal import TIMEOUT_S, Screen

pytestmark = pytest.mark.device
SECRET, WRONG = "s3cret words", "mistyped"

#: Connects twice: what was typed once is enough.
CLIENT = """
import sys
from edgewright.errors import EdgewrightError
from edgewright.profiler.transports import open_transport
transport = open_transport(sys.argv[1])
try:
    for _ in range(2):
        print(transport.run(["echo", "hello"]).stdout.strip())
        transport.close()
except EdgewrightError as error:
    print(type(error).__name__, error.message, error.hint)
print("done")
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("SSH_AUTH_SOCK", "EDGEWRIGHT_SSH_PASSWORD", "EDGEWRIGHT_SSH_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return home


def know(home: Path, device: SshDevice) -> None:
    (home / ".ssh" / "known_hosts").write_text(device.known_hosts_path.read_text())


@pytest.fixture
def locked(home: Path) -> Iterator[tuple[SshDevice, Path]]:
    """A device, and the only key to it, encrypted."""
    with start_sshd() as device:
        know(home, device)
        key = serialization.load_ssh_private_key(device.key_path.read_bytes(), None)
        path = home / ".ssh" / "id_ed25519"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.BestAvailableEncryption(SECRET.encode()),
            )
        )
        yield device, path


@pytest.fixture
def with_password(home: Path) -> Iterator[InProcessDevice]:
    with start_inprocess() as device:
        know(home, device)
        yield device


def client(address: str) -> Screen:
    return Screen(sys.executable, "-c", CLIENT, address)


def test_a_passphrase_is_asked_for_once(locked: tuple[SshDevice, Path]) -> None:
    device, key = locked
    screen = client(device.url)
    screen.wait_for(f"passphrase of {key}: ")
    screen.type(WRONG)
    screen.wait_for("passphrase of", times=2)
    screen.type(SECRET)
    screen.wait_for("done")
    screen.close()
    assert screen.text.count("hello") == 2
    assert screen.text.count("passphrase of") == 2
    assert SECRET not in screen.text and WRONG not in screen.text


def test_three_wrong_passphrases_are_enough(locked: tuple[SshDevice, Path]) -> None:
    device, key = locked
    screen = client(device.url)
    for number in range(3):
        screen.wait_for("passphrase of", times=number + 1)
        screen.type(WRONG)
    screen.wait_for("done")
    screen.close()
    assert "Unauthorized" in screen.text and f"ssh-add {key}" in screen.text.replace("\r\n", "")


def test_nobody_is_asked_without_a_terminal(locked: tuple[SshDevice, Path]) -> None:
    device, key = locked
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, device.url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        start_new_session=True,
    )
    assert f"{key} is encrypted" in done.stdout and f"ssh-add {key}" in done.stdout
    assert "passphrase of" not in done.stdout + done.stderr


def test_a_password_is_asked_for_once(with_password: InProcessDevice) -> None:
    screen = client(with_password.url)
    screen.wait_for("password of ")
    screen.type(WRONG)
    screen.wait_for("password of ", times=2)
    screen.type(str(with_password.password))
    screen.wait_for("done")
    screen.close()
    assert screen.text.count("hello") == 2
    assert screen.text.count("password of") == 2
    assert str(with_password.password) not in screen.text


def test_progress_does_not_draw_over_a_question(locked: tuple[SshDevice, Path]) -> None:
    device, key = locked
    model = Path(__file__).parents[2] / "examples" / "fashion-mnist" / "model.onnx"
    screen = Screen(
        sys.executable, "-m", "edgewright", "profile", str(model), "--device", device.url
    )
    screen.wait_for(f"passphrase of {key}: ")
    assert screen.is_still(0.5)
    screen.type("")
    screen.wait_for("ssh-add")
    screen.close()


def test_an_empty_line_gives_up(with_password: InProcessDevice) -> None:
    screen = client(with_password.url)
    screen.wait_for("password of ")
    screen.type("")
    screen.wait_for("done")
    screen.close()
    assert "Unauthorized" in screen.text and "ssh-copy-id" in screen.text
    assert screen.text.count("password of") == 1
