"""Live progress on standard error, as rich draws it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from .profiler.transports.ssh_secrets import asking_within

if TYPE_CHECKING:
    from .profiler.job import ProgressEvent


class ProgressPrinter:
    """One line for each thing that is done; where standard error is no terminal, words alone."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said = ""
        self._cleanup = ExitStack()

    def __enter__(self) -> ProgressPrinter:
        if self._console.is_terminal:
            self._bars.start()
            self._cleanup.callback(self._bars.stop)
            self._cleanup.enter_context(asking_within(self._paused))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self._bars.stop()
        yield
        self._bars.start()

    def on_host(self, what: str, done: int, total: int) -> None:
        """Something done on this machine."""
        self._tell(what, done, total)

    def on_device(self, event: ProgressEvent) -> None:
        """Something done on a device."""
        what = event.phase if event.model is None else f"{event.phase} {event.model}"
        if event.message:
            self._bars.console.print(f"{event.phase}: {event.message}", style="dim", markup=False)
            return
        self._tell(what, event.done, event.total)

    def _tell(self, what: str, done: int, total: int) -> None:
        if not self._console.is_terminal:
            if what != self._said:
                self._said = what
                self._console.print(what, markup=False)
            return
        if what not in self._tasks:
            self._finish_all()
            self._tasks[what] = self._bars.add_task(escape(what), total=None, count="")
        count = f"{done}/{total}" if total else ""
        self._bars.update(self._tasks[what], completed=done, total=total or None, count=count)

    def _finish_all(self) -> None:
        """What was done before is done when something else begins."""
        for task in self._bars.tasks:
            self._bars.update(task.id, total=task.total or 1, completed=task.total or 1)
