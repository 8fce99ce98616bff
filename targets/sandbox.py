"""Runs a function in a process of its own, where a crash or a hang costs one clear error.

Parsers and runtimes that read files of unknown origin run here. It guards against accidents (a
crash, a huge allocation, a hang), not against an attacker: the child has the user's rights.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..errors import EdgewrightError, UsageError

#: Of an answer; more is no answer that anyone could read.
_ANSWER_BYTES = 1 << 29
#: Of what the child writes to its standard error: the last of it, to tell why it ended.
_WORDS_BYTES = 1 << 14
_CHUNK_BYTES = 1 << 16

#: Of a process that ends with its one call: it keeps what it frees, as giving that back and getting
#: it again costs a page fault for each 4 KiB: 0.6 of the 2.7 s of CPU that QNN takes for 100 MB.
#: Source: mallopt(3) of glibc, "Environment variables"; other C libraries know none of them.
_KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}

_DAMAGED = "the file is damaged, or holds what this program can't handle"


def call(
    function: str, *arguments: Any, timeout_s: float, memory_bytes: int | None = None, what: str
) -> Any:
    """The result of one call in a process of its own, which ends with it. See `Sandbox.call`."""
    with Sandbox(_KEEPING if memory_bytes is None else {}) as sandbox:
        return sandbox.call(
            function, *arguments, timeout_s=timeout_s, memory_bytes=memory_bytes, what=what
        )


class Sandbox:
    """A process that serves one call after another, and is started anew after a crash.

    The process starts with the first call; `close` or the end of this process ends it.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """A sandbox whose process gets further environment variables, where they are not set."""
        self._environment = environment or {}
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and all that it started."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def call(
        self,
        function: str,
        *arguments: Any,
        timeout_s: float,
        memory_bytes: int | None = None,
        what: str,
    ) -> Any:
        """The result of a function; its arguments and its result are what JSON can say.

        Args:
            function: 'package.module:function'. What it prints is dropped.
            arguments: its arguments.
            timeout_s: how long it may take, with the start of the process.
            memory_bytes: most memory it may have, mapped files not counted; by default as much as
                the machine gives. Kept on Linux.
            what: what is done, with the file's name: 'reading model.onnx'. Errors begin with it.

        Raises:
            EdgewrightError: the one that the function raised.
            UsageError: the function crashed, took too long, wanted more memory, or raised anything
                else.
        """
        request = {
            "function": function,
            "arguments": arguments,
            "memory_bytes": memory_bytes,
            "folder": _folder(),
        }
        with self._lock:
            deadline = time.monotonic() + timeout_s
            if self._child is None or not self._child.alive:
                self.close()
                self._child = _Child(self._environment)
            child = self._child
            try:
                line = child.ask(json.dumps(request).encode(), deadline)
                if line is None:
                    raise _ended(child, what, memory_bytes)
            except TimeoutError:
                self.close()
                raise UsageError(
                    f"{what} took longer than {timeout_s:g} s", hint=_DAMAGED
                ) from None
            except BaseException:
                self.close()
                raise
        answer = json.loads(line)
        if "result" in answer:
            return answer["result"]
        raise _error(answer, what, memory_bytes)


class _Child:
    """A started process; the threads here read what it writes, so that it never waits for us."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.sandbox_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Buffers of a thread for every core would count as memory of the function's.
            env={"OPENBLAS_NUM_THREADS": "1", **environment, **os.environ},
            # A group of its own, which can be ended as a whole.
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._words = bytearray()
        self._readers = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_answers, self._read_words)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, deadline: float) -> bytes | None:
        """The answer to a request; None where the process ended without one.

        Raises:
            TimeoutError: there was none by the deadline (of time.monotonic()).
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request + b"\n")
        try:
            return self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None

    def end(self) -> tuple[int, str]:
        """Exit code (negative: the signal) and last words of a process that gives no answer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.kill()
        return self._process.returncode, self._words.decode(errors="replace")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(1.0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        line = bytearray()
        while chunk := self._process.stdout.read(_CHUNK_BYTES):
            line += chunk
            if chunk.endswith(b"\n"):
                self._answers.put(bytes(line))
                line.clear()
            if len(line) > _ANSWER_BYTES:
                break
        self._answers.put(None)

    def _read_words(self) -> None:
        assert self._process.stderr is not None
        while chunk := self._process.stderr.read(_CHUNK_BYTES):
            self._words += chunk
            del self._words[:-_WORDS_BYTES]


def _folder() -> str | None:
    """The working folder, which relative paths are about; None where it has been removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _ended(child: _Child, what: str, memory_bytes: int | None) -> UsageError:
    """For a process that ended without an answer."""
    code, words = child.end()
    if "bad_alloc" in words or "MemoryError" in words:
        return _out_of_memory(what, memory_bytes)
    if code < 0:
        known = {int(each): each.name for each in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        hint = "the system may have run out of memory" if name == "SIGKILL" else _DAMAGED
        return UsageError(f"{what} crashed ({name})", hint=hint)
    last = words.strip().splitlines()
    return UsageError(
        f"{what} ended without an answer ({last[-1] if last else f'exit code {code}'})"
    )


def _error(answer: dict[str, Any], what: str, memory_bytes: int | None) -> EdgewrightError:
    """The error that an answer stands for."""
    if "raised" in answer:
        known = {kind.__name__: kind for kind in _tree(EdgewrightError)}
        kind = next(known[name] for name in answer["raised"] if name in known)
        return kind(answer["message"], hint=answer["hint"])
    if "memory" in answer:
        return _out_of_memory(what, memory_bytes)
    error = UsageError(f"{what} failed ({answer['failed']})", hint=_DAMAGED)
    error.add_note(answer["trace"])
    return error


def _tree(kind: type[EdgewrightError]) -> list[type[EdgewrightError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


def _out_of_memory(what: str, memory_bytes: int | None) -> UsageError:
    most = "the machine has" if memory_bytes is None else f"{memory_bytes / 1e9:.1f} GB"
    return UsageError(f"{what} needed more memory than {most}", hint=_DAMAGED)
