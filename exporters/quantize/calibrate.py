"""Runs the float model over samples, once, and keeps what ranges are found from."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from ...errors import EdgewrightError, UsageError
from ..artifact import Array
from ..runtime import first_line
from .grid import Floats
from .layers import Layer
from .statistics import Collected, Origin, Statistics
from .tensor_statistics import ChannelStatistics, TensorStatistics, as_floats, channel_rows

Sample = Mapping[str, Array]
"""One inference's inputs, as the model file takes them."""

Tap = Callable[[Sample], Mapping[str, Array]]
"""Runs the float model on one sample and gives every float activation by its name."""

#: Seconds between checkpoints.
CHECKPOINT_S = 60.0


def channel_axes(layers: Iterable[Layer]) -> dict[str, int]:
    """The channels' axis of every layer's input and output.

    A tensor that one layer reads with channels first and another with channels last has none.
    """
    axes: dict[str, set[int]] = {}
    for layer in layers:
        for tensor in (layer.input, layer.output):
            axes.setdefault(tensor, set()).add(layer.channel_axis)
    return {tensor: found.pop() for tensor, found in axes.items() if len(found) == 1}


def collect(
    tap: Tap,
    samples: Iterable[Sample],
    origin: Origin,
    collected: Collected,
    *,
    resume_from: Statistics | None = None,
    checkpoint: Callable[[Statistics], None] = lambda statistics: None,
    on_sample: Callable[[int], None] = lambda done: None,
) -> Statistics:
    """Statistics of every float activation, in memory that does not grow with the samples.

    Args:
        samples: the data that `origin` names, in the same order each time.
        resume_from: what was handed to `checkpoint` before. Its samples are passed over, and the
            result is the same as without the interruption. It is continued in place, and given
            back where it is complete.
        checkpoint: is handed what there is every minute, and on Ctrl-C (which goes on as
            KeyboardInterrupt). It has to write that at once: counting goes on in place.
        on_sample: told how many samples are done.

    Raises:
        UsageError: no samples; the model fails on one, or an activation holds NaN or Inf (the
            message names the tensor and the sample); `resume_from` is of something else.
    """
    if resume_from is not None:
        _require_same(resume_from, origin, collected)
        if resume_from.complete:
            return resume_from
    tally = _Tally(origin, collected, resume_from)
    written = time.monotonic()
    try:
        with contextlib.closing(_ahead(tap, samples, tally.samples)) as activations:
            for seen in activations:
                with _interrupts_held():
                    tally.add(seen)
                on_sample(tally.samples)
                if time.monotonic() - written >= CHECKPOINT_S:
                    checkpoint(tally.statistics(complete=False))
                    written = time.monotonic()
    except KeyboardInterrupt:
        if tally.samples:
            checkpoint(tally.statistics(complete=False))
        raise
    if tally.samples == 0:
        raise UsageError(f"{origin.data_description} holds no calibration samples")
    return tally.statistics(complete=True)


class _Tally:
    """Statistics in the making."""

    def __init__(self, origin: Origin, collected: Collected, begun: Statistics | None) -> None:
        self._origin, self._collected = origin, collected
        self.samples = begun.samples if begun else 0
        self._tensors = dict(begun.tensors) if begun else {}
        self._channels = dict(begun.channels) if begun else {}
        self._per_channel = dict(begun.per_channel) if begun else {}

    def statistics(self, *, complete: bool) -> Statistics:
        return Statistics(
            origin=self._origin,
            collected=self._collected,
            samples=self.samples,
            complete=complete,
            tensors=self._tensors,
            channels=self._channels,
            per_channel=self._per_channel,
        )

    def add(self, seen: Mapping[str, Array]) -> None:
        """Counts one sample."""
        for name, values in seen.items():
            if values.size == 0:
                continue
            try:
                self._add(name, as_floats(values))
            except FloatingPointError as error:
                raise UsageError(
                    f"calibration sample {self.samples} gives {error} in tensor {name}",
                    hint="mend the model or leave this sample out",
                ) from error
        self.samples += 1

    def _add(self, name: str, values: Floats) -> None:
        if name not in self._tensors:
            self._tensors[name] = TensorStatistics.empty()
        self._tensors[name].add(values)
        axis = self._collected.channel_axes.get(name)
        if axis is None or not -values.ndim <= axis < values.ndim:
            return
        axis %= values.ndim
        channels = values.shape[axis]
        if name not in self._channels:
            covariance = name in self._collected.covariances
            self._channels[name] = ChannelStatistics.empty(axis, channels, covariance)
        self._channels[name].add(values)
        if name in self._collected.per_channel:
            if name not in self._per_channel:
                self._per_channel[name] = TensorStatistics.empty(channels)
            self._per_channel[name].add(channel_rows(values, axis))


def _ahead(
    tap: Tap, samples: Iterable[Sample], done: int
) -> Generator[Mapping[str, Array], None, None]:
    """Activations of the samples after the first `done`.

    The model runs on one sample while those of the sample before are counted.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        running: Future[Mapping[str, Array]] | None = None
        for index, sample in enumerate(samples):
            if index < done:
                continue
            before, running = running, pool.submit(_run, tap, sample, index)
            if before is not None:
                yield before.result()
        if running is not None:
            yield running.result()


def _run(tap: Tap, sample: Sample, index: int) -> Mapping[str, Array]:
    try:
        return tap(sample)
    except EdgewrightError:
        raise
    except Exception as error:
        raise UsageError(
            f"the float model fails on calibration sample {index}: {first_line(error)}",
            hint="the data are not what the model takes (an index out of range, for example)",
        ) from error


def _require_same(begun: Statistics, origin: Origin, collected: Collected) -> None:
    for what, same in {
        "another model": begun.origin.model_sha256 == origin.model_sha256,
        "other data": begun.origin.data_identity == origin.data_identity,
        "other tensors": begun.collected == collected,
    }.items():
        if not same:
            raise UsageError(
                f"the calibration to take up again is of {what}",
                hint="calibrate from the start, to another file",
            )


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Lets Ctrl-C wait until the block ends, so that no sample is counted by half."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)
