"""Devices over SSH: finding them, trusting them, being trusted, and every error on the way."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from devices.base import SshDevice, free_port, public_half, write_key_pair
from devices.inprocess import InProcessDevice, start_inprocess
from devices.sshd import SshdDevice, start_sshd

from edgewright.errors import (
    DeviceError,
    EdgewrightError,
    HostKeyMismatch,
    Unauthorized,
    Unreachable,
    UsageError,
)
from edgewright.profiler.transports import open_transport, ssh_connection
from edgewright.profiler.transports.ssh_errors import device_error

CLIENT = ("ssh-keygen", "ssh-keyscan", "ssh-agent", "ssh-add")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, CLIENT)), reason="OpenSSH's client is missing: NOTHING IS TESTED here"
)


@pytest.fixture(
    params=[pytest.param(start_sshd, marks=pytest.mark.device), start_inprocess],
    ids=["sshd", "inprocess"],
)
def device(request: pytest.FixtureRequest) -> Iterator[SshDevice]:
    start: Callable[[], SshDevice] = request.param
    with start() as device:
        yield device


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, configuration and agent; ssh_config goes to its usual place."""
    home = tmp_path / "home with blanks"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("SSH_AUTH_SOCK", "EDGEWRIGHT_SSH_PASSWORD", "EDGEWRIGHT_SSH_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return home


def configure(home: Path, *lines: str) -> None:
    (home / ".ssh" / "config").write_text("\n".join(lines) + "\n")


def know(home: Path, device: SshDevice) -> None:
    """Put the device on record and its key where ssh looks for keys."""
    with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
        known_hosts.write(device.known_hosts_path.read_text())
    install_key(home, device)


def install_key(home: Path, device: SshDevice) -> None:
    key = home / ".ssh" / "id_ed25519"
    key.write_bytes(device.key_path.read_bytes())
    key.chmod(0o600)


def says(address: str, word: str = "hello") -> bool:
    """Whether the device at an address runs a command."""
    transport = open_transport(address)
    try:
        return transport.run(["echo", word]).stdout == f"{word}\n"
    finally:
        transport.close()


def failure(address: str) -> EdgewrightError:
    """How a command on the device fails."""
    transport = open_transport(address)
    try:
        with pytest.raises(EdgewrightError) as caught:
            transport.run(["true"])
    finally:
        transport.close()
    return caught.value


def fingerprint(public_key: Path) -> str:
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(public_key)], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[1]


# Host keys


def test_a_host_on_record_is_trusted(device: SshDevice, home: Path) -> None:
    know(home, device)
    assert says(device.url)


def test_an_unknown_host_is_refused_and_the_command_told_accepts_it(
    device: SshDevice, home: Path
) -> None:
    install_key(home, device)
    error = failure(device.url)
    assert isinstance(error, HostKeyMismatch) and not error.transient
    assert "its host key is unknown" in error.message
    assert fingerprint(public_half(device.host_key_path)) in error.message
    ours, _, accept = (
        str(error.hint).split("accept it with: ")[1].removesuffix(")").partition(" (or ")
    )
    assert ours == f"edgewright devices trust {device.url}"
    assert accept.startswith(f"ssh-keyscan -p {device.port} -t ed25519 127.0.0.1 >> ~/.ssh/")
    subprocess.run(accept, shell=True, check=True, capture_output=True)
    assert says(device.url)


def test_a_changed_host_key_is_refused_and_the_commands_told_accept_it(
    device: SshDevice, home: Path
) -> None:
    know(home, device)
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text(f"# comment\n{known_hosts.read_text()}")
    old = fingerprint(public_half(device.host_key_path))
    device.change_host_key()
    configure(home, "StrictHostKeyChecking no")
    error = failure(device.url)
    assert isinstance(error, HostKeyMismatch)
    assert "HAS CHANGED" in error.message
    assert f"{known_hosts}:2 has ssh-ed25519 {old}" in error.message
    assert fingerprint(public_half(device.host_key_path)) in error.message
    commands = re.search(r"old key with: (.*) and accept .* \(or (.*)\)", str(error.hint))
    assert commands is not None and commands[1].startswith("ssh-keygen -R '[127.0.0.1]:")
    for command in commands.groups():
        subprocess.run(command, shell=True, check=True, capture_output=True)
    assert says(device.url)


def test_a_host_key_that_changes_between_two_connections(device: SshDevice, home: Path) -> None:
    know(home, device)
    transport = open_transport(device.url)
    transport.run(["true"])
    device.change_host_key()
    with pytest.raises(DeviceError):
        transport.run(["true"])  # the connection is gone, which may be noticed only now
    with pytest.raises(HostKeyMismatch, match="HAS CHANGED"):
        transport.run(["true"])
    transport.close()


def test_hashed_and_patterned_names_are_understood(device: SshDevice, home: Path) -> None:
    know(home, device)
    known_hosts = home / ".ssh" / "known_hosts"
    subprocess.run(["ssh-keygen", "-H", "-f", known_hosts], check=True, capture_output=True)
    assert known_hosts.read_text().startswith("|1|")
    assert says(device.url)
    key = device.known_hosts_path.read_text().split(maxsplit=1)[1]
    for names, trusted in (
        (f"other,[127.0.0.?]:{device.port}", True),
        (f"[127.0.0.1]:*,![127.0.0.1]:{device.port}", False),
        ("127.0.0.1", False),
        ("|1|nonsense", False),
    ):
        known_hosts.write_text(f"{names} {key}\nbroken line\n{names} ssh-ed25519 ?\n")
        if trusted:
            assert says(device.url)
        else:
            assert isinstance(failure(device.url), HostKeyMismatch)


def test_a_revoked_host_key_is_refused(device: SshDevice, home: Path) -> None:
    know(home, device)
    with (home / ".ssh" / "known_hosts").open("a") as known_hosts:
        known_hosts.write("@cert-authority " + device.known_hosts_path.read_text())
        known_hosts.write("@revoked " + device.known_hosts_path.read_text())
    error = failure(device.url)
    assert isinstance(error, HostKeyMismatch)
    assert "marked as revoked in" in error.message and "known_hosts:3" in error.message


@pytest.mark.device
@pytest.mark.parametrize("known", ["ed25519", "ecdsa", "rsa"])
def test_a_server_with_several_keys_is_asked_for_the_one_on_record(
    known: str, real_sshd_device: SshdDevice, home: Path
) -> None:
    device = real_sshd_device
    install_key(home, device)
    config = device.listener.config.read_text()
    for kind, key in (
        ("ecdsa", ec.generate_private_key(ec.SECP256R1())),
        ("rsa", rsa.generate_private_key(65537, 2048)),
    ):
        path = device.files.directory / f"host_key_{kind}"
        write_private_key(path, key)
        config += f"HostKey {path}\n"
    device.listener.config.write_text(config)
    device.restart()
    scanned = subprocess.run(
        ["ssh-keyscan", "-p", str(device.port), "-t", known, device.host],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(scanned.stdout.splitlines()) == 1
    (home / ".ssh" / "known_hosts").write_text(scanned.stdout)
    assert says(device.url)


def write_private_key(
    path: Path,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    password: str | None = None,
) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    public_half(path).write_bytes(public + b"\n")


# Credentials


def test_a_wrong_key_is_refused_with_what_was_tried(device: SshDevice, home: Path) -> None:
    know(home, device)
    key = home / ".ssh" / "id_ed25519"
    write_key_pair(key)
    error = failure(device.url)
    assert isinstance(error, Unauthorized) and not error.transient
    assert f"tried: {key} (ssh-ed25519 {fingerprint(public_half(key))})" in error.message
    assert "it accepts publickey" in error.message
    assert error.hint


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_keys_are_used(kind: str, device: SshDevice, home: Path) -> None:
    know(home, device)
    (home / ".ssh" / "id_ed25519").unlink()
    key = (
        ec.generate_private_key(ec.SECP384R1())
        if kind == "ecdsa"
        else rsa.generate_private_key(65537, 2048)
    )
    path = home / ".ssh" / f"id_{kind}"
    write_private_key(path, key)
    device.files.authorized_keys.write_bytes(public_half(path).read_bytes())
    device.restart()
    assert says(device.url)


def test_without_any_key_it_says_so(device: SshDevice, home: Path) -> None:
    know(home, device)
    (home / ".ssh" / "id_ed25519").unlink()
    error = failure(device.url)
    assert isinstance(error, Unauthorized)
    assert "there was nothing to try" in error.message


def test_unusable_keys_are_named(device: SshDevice, home: Path) -> None:
    know(home, device)
    encrypted, broken = home / "encrypted", home / "broken"
    write_private_key(encrypted, ed25519.Ed25519PrivateKey.generate(), password="s3cret")
    broken.write_text("not a key")
    configure(
        home, f'IdentityFile "{encrypted}"', f'IdentityFile "{broken}"', "IdentityFile ~/missing"
    )
    error = failure(device.url)
    assert isinstance(error, Unauthorized)
    assert f"{encrypted} is encrypted" in error.message
    assert f"{broken} can't be used as a private key" in error.message
    assert f"{home / 'missing'} does not exist" in error.message
    assert error.hint == f"load the key into an agent: ssh-add {encrypted}"


@contextmanager
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *keys: Path) -> Iterator[None]:
    path = tmp_path / "agent"
    running = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        yield
    finally:
        running.terminate()
        running.wait()


def test_the_agent_s_keys_are_used(
    device: SshDevice, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(home, device)
    (home / ".ssh" / "id_ed25519").unlink()
    other = tmp_path / "other"
    write_key_pair(other)
    with agent(tmp_path, monkeypatch, other, device.key_path):
        assert says(device.url)
        configure(home, f"IdentityFile {other}", "IdentitiesOnly yes")
        assert isinstance(failure(device.url), Unauthorized)
        # Only the public half is at hand, as with keys that live in hardware.
        configure(home, f"IdentityFile {public_half(device.key_path)}", "IdentitiesOnly yes")
        assert says(device.url)


def test_a_password_comes_from_the_environment(
    inprocess_device: InProcessDevice, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(home, inprocess_device)
    (home / ".ssh" / "id_ed25519").unlink()
    assert "EDGEWRIGHT_SSH_PASSWORD" in str(failure(inprocess_device.url).hint)
    monkeypatch.setenv("EDGEWRIGHT_SSH_PASSWORD", str(inprocess_device.password))
    assert says(inprocess_device.url)
    write_key_pair(home / ".ssh" / "id_ed25519")  # refused, then comes the password
    assert says(inprocess_device.url)


def test_a_wrong_password_is_refused_and_not_repeated(
    inprocess_device: InProcessDevice, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(home, inprocess_device)
    (home / ".ssh" / "id_ed25519").unlink()
    monkeypatch.setenv("EDGEWRIGHT_SSH_PASSWORD", "s3cret")
    error = failure(inprocess_device.url)
    assert isinstance(error, Unauthorized)
    assert "the password in EDGEWRIGHT_SSH_PASSWORD" in error.message
    assert "s3cret" not in f"{error} {error.hint}"


@pytest.mark.device
def test_too_many_keys_are_explained(real_sshd_device: SshdDevice, home: Path) -> None:
    device = real_sshd_device
    know(home, device)
    config = device.listener.config
    config.write_text(re.sub("MaxAuthTries .*", "MaxAuthTries 2", config.read_text()))
    device.restart()
    keys = [home / f"key{number}" for number in range(4)]
    for key in keys:
        write_key_pair(key)
    configure(home, *(f'IdentityFile "{key}"' for key in keys))
    error = failure(device.url)
    assert isinstance(error, Unauthorized)
    assert "it hung up after so many attempts" in error.message
    assert "IdentitiesOnly" in str(error.hint)


# The way there


def test_a_refused_connection(home: Path) -> None:
    error = failure(f"ssh://127.0.0.1:{free_port()}")
    assert isinstance(error, Unreachable) and error.transient
    assert "nothing listens there" in error.message and error.hint


def test_an_unknown_name() -> None:
    error = failure("ssh://no-such-host.invalid")
    assert isinstance(error, Unreachable)
    assert "the host's name is not known" in error.message


def test_a_name_that_no_host_can_have() -> None:
    error = failure(f"ssh://{'a' * 70}.example")
    assert isinstance(error, DeviceError)


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP port where something else than an SSH server answers."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept() -> None:
        try:
            while True:
                connection, _ = server.accept()
                held.append(connection)
                answer(connection)
        except OSError:
            pass

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: None, "does not speak SSH"),
        (lambda it: it.close(), "does not speak SSH"),
        (lambda it: it.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 200), "does not speak SSH"),
        (lambda it: (it.sendall(b"SSH-2.0-x\r\n"), it.close()), "closed by the other side or lost"),
        (lambda it: it.sendall(b"SSH-2.0-x\r\n" + bytes(5000)), ""),
        (lambda it: it.sendall(b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14" + bytes(10)), ""),
    ],
    ids=["silent", "closes", "http", "closes after its banner", "zeros", "empty offer"],
)
def test_something_that_is_not_an_ssh_server(
    answer: Callable[[socket.socket], None], said: str, home: Path
) -> None:
    configure(home, "ConnectTimeout 1")
    with listener(answer) as port:
        started = time.monotonic()
        error = failure(f"ssh://127.0.0.1:{port}")
    assert isinstance(error, DeviceError)
    assert said in error.message
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("hangs_up", "said"), [(False, "it stopped answering"), (True, "ended before the login")]
)
def test_a_server_that_is_silent_in_the_login(
    hangs_up: bool, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_connection, "HANDSHAKE_TIMEOUT_S", 2)
    key = home / "host_key"
    write_key_pair(key)

    def answer(connection: socket.socket) -> None:
        server = paramiko.Transport(connection)
        server.add_server_key(paramiko.Ed25519Key(filename=str(key)))
        server.auth_handler = SimpleNamespace(_handler_table={}, abort=lambda: None)
        server.start_server(event=threading.Event())
        if hangs_up:
            threading.Timer(0.5, server.close).start()

    with listener(answer) as port:
        public_key = public_half(key).read_text()
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {public_key}")
        started = time.monotonic()
        error = failure(f"ssh://127.0.0.1:{port}")
    assert isinstance(error, Unreachable)
    assert said in error.message
    assert time.monotonic() - started < 10


# The configuration


def test_an_alias_with_everything_configured(
    device: SshDevice, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    assert says("ssh://edgewright-device")


def test_the_address_overrides_the_configuration(device: SshDevice, home: Path) -> None:
    know(home, device)
    configure(home, "Host board", "  HostName 127.0.0.1", "  Port 1", "  User nobody")
    assert says(f"ssh://{device.user}@board:{device.port}")


def test_includes_are_followed(device: SshDevice, home: Path) -> None:
    (home / ".ssh" / "boards").mkdir()
    (home / ".ssh" / "boards" / "pi").write_text(device.ssh_config_path.read_text())
    configure(home, "Include boards/*", "Include ~/no-such-file")
    assert says("ssh://edgewright-device")
    configure(home, "Include config")
    with pytest.raises(UsageError, match="Include goes round in a circle"):
        open_transport("ssh://edgewright-device")


def test_a_host_key_alias_is_looked_up(device: SshDevice, home: Path) -> None:
    install_key(home, device)
    key = device.known_hosts_path.read_text().split(maxsplit=1)[1]
    configure(home, "HostKeyAlias board-7", "UserKnownHostsFile ~/.ssh/%d-none ~/.ssh/boards-%p")
    (home / ".ssh" / f"boards-{device.port}").write_text(f"board-7 {key}")
    assert says(device.url)
    device.change_host_key()
    assert f"edgewright devices trust {device.url}" in str(failure(device.url).hint)


def test_a_proxy_command_is_used(device: SshDevice, home: Path, tmp_path: Path) -> None:
    know(home, device)
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "far = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): far.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := far.recv(65536): os.write(1, data)\n"
    )
    configure(home, f"ProxyCommand {sys.executable} {relay} %h %p")
    assert says(device.url)
    configure(home, "ProxyCommand echo 'no way to %h' >&2; exit 1")
    error = failure(device.url)
    assert isinstance(error, Unreachable)
    assert error.hint == "the ProxyCommand said: no way to 127.0.0.1"


@pytest.mark.device
def test_a_jump_host_is_used(
    real_sshd_device: SshdDevice, inprocess_device: InProcessDevice, home: Path
) -> None:
    jump, device = real_sshd_device, inprocess_device
    know(home, jump)
    know(home, device)
    board = f"  HostName 127.0.0.1\n  Port {device.port}\n  User {device.user}"
    configure(
        home,
        f"IdentityFile {jump.key_path}",
        f"IdentityFile {device.key_path}",
        f"Host board\n{board}\n  ProxyJump {jump.url.removeprefix('ssh://')}",
        f"Host behind-two\n{board}\n  ProxyJump {jump.url}, {jump.url}",
        f"Host lost\n  HostName 127.0.0.1\n  Port {free_port()}\n  ProxyJump {jump.url}",
        "Host circle\n  ProxyJump circle",
    )
    assert says("ssh://board")
    assert says("ssh://behind-two")
    error = failure("ssh://lost")
    assert isinstance(error, Unreachable)
    assert "the jump host can't reach it" in error.message and jump.url[6:] in error.message
    with pytest.raises(UsageError, match="ProxyJump goes round in a circle"):
        open_transport("ssh://circle")
    jump.stop()
    assert "nothing listens there" in failure("ssh://board").message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Port ssh", "port must be a whole number, not 'ssh'"),
        ("nonsense", "Unparsable line"),
        ("Match nonsense", "Missing parameter"),
        ('Match exec "true"', "can't look up pi"),
        ("ProxyJump pi:$(id)@host", "must not contain a password"),
        ('UserKnownHostsFile "a', "No closing quotation"),
    ],
)
def test_a_wrong_configuration_is_explained(line: str, said: str, home: Path) -> None:
    configure(home, line)
    with pytest.raises(UsageError, match=re.escape(said)):
        open_transport("ssh://pi")


def test_a_named_configuration_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", "/no/such/file")
    with pytest.raises(UsageError, match="EDGEWRIGHT_SSH_CONFIG names /no/such/file"):
        open_transport("ssh://pi")


# paramiko's exceptions


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += subclasses(below)
    return found


SPECIAL: dict[type[BaseException], tuple[object, ...]] = {
    paramiko.BadAuthenticationType: ("not this way", ["publickey"]),
    paramiko.BadHostKeyException: ("host", None, None),
    paramiko.ChannelException: (2, "connect failed"),
    paramiko.ProxyCommandFailure: ("nc", "no such file"),
    paramiko.ssh_exception.PartialAuthentication: (["password"],),
    paramiko.ssh_exception.NoValidConnectionsError: (
        {("192.0.2.1", 22): ConnectionRefusedError(errno.ECONNREFUSED, "refused")},
    ),
}


def test_every_paramiko_exception_is_mapped() -> None:
    kinds = [
        kind
        for kind in [*subclasses(paramiko.SSHException), *subclasses(OSError)]
        if kind.__module__.startswith("paramiko")
    ]
    assert len(kinds) > 10 and paramiko.ssh_exception.NoValidConnectionsError in kinds
    for kind in kinds:
        error = device_error(kind(*SPECIAL.get(kind, ("what happened",))), "ssh://pi")
        assert isinstance(error, DeviceError), kind
        assert "ssh://pi" in error.message, kind


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (paramiko.SSHException("Error reading SSH protocol banner"), Unreachable, "speak SSH"),
        (paramiko.SSHException("Timeout opening channel."), Unreachable, "stopped answering"),
        (paramiko.SSHException(""), Unreachable, "no reason given"),
        (paramiko.AuthenticationException("Authentication failed."), Unauthorized, "refused"),
        (paramiko.AuthenticationException("Authentication timeout."), Unreachable, "login"),
        (paramiko.PasswordRequiredException("x"), Unauthorized, "encrypted"),
        (paramiko.ChannelException(1, "prohibited"), DeviceError, "does not permit"),
        (paramiko.ChannelException(4, "shortage"), Unreachable, "no room"),
        (socket.gaierror(-2, "Name or service not known"), Unreachable, "name is not known"),
        (TimeoutError(), Unreachable, "did not answer in time"),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), Unreachable, "did not answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Unreachable, "nothing listens"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Unreachable, "closed"),
        (BrokenPipeError(errno.EPIPE, "broken pipe"), Unreachable, "closed"),
        (OSError(errno.EHOSTUNREACH, "no route"), Unreachable, "no route"),
        (OSError(errno.ENETUNREACH, "no network"), Unreachable, "no route"),
        (OSError("Socket is closed"), Unreachable, "Socket is closed"),
        (EOFError(), Unreachable, "closed"),
        (ValueError("not from here"), DeviceError, "makes no sense"),
    ],
)
def test_causes_are_told_apart(
    raised: BaseException, expected: type[DeviceError], said: str
) -> None:
    error = device_error(raised, "ssh://pi")
    assert type(error) is expected
    assert said in error.message
