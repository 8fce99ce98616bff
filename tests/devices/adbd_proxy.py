"""A proxy before an adbd that asks who is there, as a phone does and Debian's adbd does not.

It speaks the protocol between an adb server and a device (adb's protocol.txt) until the host is
allowed: each message has six 32-bit words, little endian, and content. Then it only passes bytes.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
from contextlib import suppress
from typing import NamedTuple

from .base import LOOPBACK

CNXN, AUTH = b"CNXN", b"AUTH"
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
TOKEN_BYTES = 20
PIECE_BYTES = 64 * 1024


class Message(NamedTuple):
    """One message of the protocol; `whole` is what travelled."""

    kind: bytes
    first: int
    content: bytes
    whole: bytes


class AuthorizingProxy:
    """Listens on the loopback interface; who is not allowed yet is `unauthorized`.

    host, port: where the adbd listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._adbd = (host, port)
        self._allowed = threading.Event()
        self._sockets = [socket.create_server((LOOPBACK, 0))]
        self.public_keys: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._sockets[0].getsockname()[1]
        return port

    @property
    def serial(self) -> str:
        """As the adb server lists it, once it has been connected to."""
        return f"{LOOPBACK}:{self.port}"

    def allow(self) -> None:
        """Somebody looks at the screen and allows the host that asked, always."""
        self._allowed.set()

    def close(self) -> None:
        self._allowed.set()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                host, _ = self._sockets[0].accept()
                self._sockets.append(host)
                threading.Thread(target=self._serve, args=(host,), daemon=True).start()

    def _serve(self, host: socket.socket) -> None:
        with suppress(OSError, EOFError):
            hello = receive(host)
            if not self._allowed.is_set():
                self._ask(host)
            adbd = socket.create_connection(self._adbd)
            self._sockets.append(adbd)
            adbd.sendall(hello.whole)
            threading.Thread(target=carry, args=(adbd, host), daemon=True).start()
            carry(host, adbd)

    def _ask(self, host: socket.socket) -> None:
        """Refuses the host's signatures until it offers its public key; then waits for a person."""
        while True:
            host.sendall(message(AUTH, TOKEN, secrets.token_bytes(TOKEN_BYTES)))
            answer = receive(host)
            if answer.kind == AUTH and answer.first == PUBLIC_KEY:
                self.public_keys.append(answer.content.rstrip(b"\0").decode())
                self._allowed.wait()
                return


def message(kind: bytes, first: int, content: bytes) -> bytes:
    """A message as it travels."""
    (word,) = struct.unpack("<I", kind)
    words = (word, first, 0, len(content), sum(content), word ^ 0xFFFFFFFF)
    return struct.pack("<6I", *words) + content


def receive(source: socket.socket) -> Message:
    """The next message; raises EOFError where the other side has gone."""
    header = exactly(source, 24)
    first, size = struct.unpack("<I4xI", header[4:16])
    content = exactly(source, size)
    return Message(header[:4], first, content, header + content)


def exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def carry(source: socket.socket, target: socket.socket) -> None:
    """Passes bytes until one side goes; then the other one shall, too."""
    with suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
