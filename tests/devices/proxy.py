"""A cable to a device that can be cut, fall silent, be slow, and come back: a TCP proxy."""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .base import LOOPBACK

PIECE_BYTES = 64 * 1024
IN_FLIGHT_PIECES = 256

# SO_LINGER with no time to linger: close() sends a reset, as a host that has lost its state does.
RESET = struct.pack("ii", 1, 0)


@dataclass
class Direction:
    """One way through the cable.

    Attributes:
        carried: bytes that have crossed.
    """

    carried: int = 0
    fault_at: int | None = None
    fault: Callable[[], None] = lambda: None

    def fault_after(self, count: int, fault: Callable[[], None]) -> None:
        """Call `fault` once, when exactly `count` more bytes have crossed."""
        self.fault, self.fault_at = fault, self.carried + count


class Proxy:
    """Carries what comes to `port` of the loopback interface to another port, and back.

    `up` is the way to the device, `down` the way from it. Every piece arrives `delay_s` after it
    was sent, and no more than `bytes_per_s` get through each way. Also a context manager.
    """

    def __init__(
        self, port: int, host: str = LOOPBACK, *, delay_s: float = 0.0, bytes_per_s: float = 0.0
    ) -> None:
        self.up, self.down = Direction(), Direction()
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self._target = (host, port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    def cut(self) -> None:
        """Reset every connection and refuse new ones until `restore`."""
        self._close_listener()
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                # A thread that waits in recv() holds the socket open; this wakes it.
                end.shutdown(socket.SHUT_RD)
            end.close()

    def silence(self) -> None:
        """Carry nothing more and say nothing, as when a cable is pulled; `restore` puts it back."""
        self._flowing.clear()

    def restore(self) -> None:
        """Carry again: what was silent goes on where it stopped, what was cut connects anew."""
        self._flowing.set()
        if self._listener.fileno() == -1:
            self._listener = socket.create_server((LOOPBACK, self.port))
            self._listen()

    def close(self) -> None:
        self._flowing.set()
        self.cut()

    def _close_listener(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self._listener.close()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._ends.append(near)
                far = socket.create_connection(self._target)
                self._ends.append(far)
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connect(near, far, self.up)
                self._connect(far, near, self.down)

    def _connect(self, source: socket.socket, target: socket.socket, way: Direction) -> None:
        in_flight: queue.Queue[tuple[float, bytes]] = queue.Queue(IN_FLIGHT_PIECES)
        for work, end in ((self._take, source), (self._deliver, target)):
            threading.Thread(target=work, args=[end, in_flight, way], daemon=True).start()

    def _take(
        self, source: socket.socket, in_flight: queue.Queue[tuple[float, bytes]], way: Direction
    ) -> None:
        data = b"more"
        while data:
            self._flowing.wait()
            try:
                data = source.recv(PIECE_BYTES)
            except OSError:
                data = b""
            in_flight.put((time.monotonic() + self.delay_s, data))

    def _deliver(
        self, target: socket.socket, in_flight: queue.Queue[tuple[float, bytes]], way: Direction
    ) -> None:
        broken = False
        while True:
            due, data = in_flight.get()
            time.sleep(max(0.0, due - time.monotonic()))
            self._flowing.wait()
            if not data:
                break
            if not broken:  # else the other thread must get rid of what it takes
                try:
                    self._send(target, data, way)
                except OSError:
                    broken = True
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _send(self, target: socket.socket, data: bytes, way: Direction) -> None:
        if way.fault_at is not None and way.carried + len(data) >= way.fault_at:
            allowed = way.fault_at - way.carried
            way.fault_at = None
            self._send(target, data[:allowed], way)
            way.fault()
            self._flowing.wait()
            data = data[allowed:]
        if self.bytes_per_s:
            time.sleep(len(data) / self.bytes_per_s)
        target.sendall(data)
        way.carried += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
