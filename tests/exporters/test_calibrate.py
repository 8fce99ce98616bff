"""Calibration: what is collected, refused, interrupted and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import conv_net, normal, save_onnx
from onnx import helper

from edgewright.errors import UsageError
from edgewright.exporters.quantize import calibrate, onnx
from edgewright.exporters.quantize.calibrate import channel_axes, collect
from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.layers import Layer
from edgewright.exporters.quantize.recipe import RangeMethod
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.quantize.statistics_file import load, save

ORIGIN = Origin("onnx", "ab" * 32, "cd" * 32, "data.npz")
ALL = Collected({"x": 1, "h": -1}, frozenset({"h"}), frozenset({"x"}))
GRID, MIN_MAX = Grid(8, True, False), RangeMethod(method="min-max")


def samples(count: int, size: int = 6) -> list[dict[str, np.ndarray]]:
    return [{"x": array} for array in normal(3, count, 1, 4, size, size)]


def tap(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
    x = sample["x"]
    return {"x": x, "h": np.maximum(x, 0).reshape(-1, 9), "none": np.zeros((0, 3), np.float32)}


def state(found: Any) -> dict[str, Any]:
    """All the numbers in statistics, to be compared bit for bit."""
    numbers = {}
    for part in ("tensors", "channels", "per_channel"):
        for name, held in getattr(found, part).items():
            for field in fields(held):
                value = getattr(held, field.name)
                told = value.tobytes() if isinstance(value, np.ndarray) else value
                numbers[part, name, field.name] = told
    return {"samples": found.samples, "complete": found.complete, **numbers}


def test_what_is_kept_of_every_tensor() -> None:
    told: list[int] = []
    found = collect(tap, samples(3), ORIGIN, ALL, on_sample=told.append)
    assert told == [1, 2, 3] and found.samples == 3 and found.complete
    assert set(found.tensors) == {"x", "h"}
    values = np.concatenate([s["x"] for s in samples(3)])
    assert found.range("x", GRID, MIN_MAX) == (values.min(), values.max())
    np.testing.assert_allclose(found.means("x"), values.mean(axis=(0, 2, 3)), atol=1e-6)
    assert np.array_equal(found.channel_minima("x"), values.min(axis=(0, 2, 3)))
    lows, highs = found.channel_ranges("x", GRID, MIN_MAX)
    assert np.array_equal(lows, values.min(axis=(0, 2, 3)))
    assert np.array_equal(highs, values.max(axis=(0, 2, 3)))
    hidden = np.concatenate([tap(s)["h"] for s in samples(3)])
    covariance = found.covariance("h")
    assert covariance is not None and found.covariance("x") is None
    np.testing.assert_allclose(covariance, hidden.T @ hidden / len(hidden), rtol=1e-5)


def test_a_real_model(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "net.onnx")
    layers = onnx.layers(path)
    found = collect(
        onnx.tap(path),
        [{"x": array} for array in normal(1, 5, 1, 3, 12, 12)],
        ORIGIN,
        Collected(channel_axes(layers)),
    )
    for layer in layers:
        low, high = found.range(layer.output, GRID, MIN_MAX)
        assert low < high
        assert found.means(layer.output).shape == (len(layer.weights),)
        assert found.means(layer.input).shape == (layer.input_channels,)
        assert found.channel_maxima(layer.output).max() == high


def test_of_tensors_that_are_nan_the_first_of_the_graph_is_named(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "log.onnx",
        [
            helper.make_node("Log", ["x"], ["log"]),
            helper.make_node("Add", ["log", "log"], ["sum"]),
            helper.make_node("Neg", ["sum"], ["y"]),
        ],
        {"x": [1, 4]},
        {"y": [1, 4]},
    )
    real = onnx.tap(path)
    assert list(real({"x": np.ones((1, 4), np.float32)})) == ["x", "log", "sum", "y"]
    with pytest.raises(UsageError, match="sample 0 gives NaN or Inf in tensor log"):
        collect(real, [{"x": -np.ones((1, 4), np.float32)}], ORIGIN, ALL)


def test_axes_of_a_tensor_that_is_read_in_two_ways_are_left_out() -> None:
    def layer(source: str, to: str, last: bool) -> Layer:
        weights = np.zeros((2, 2), np.float32)
        return Layer("n", "MatMul", source, to, "w", weights, None, None, last)

    axes = channel_axes([layer("a", "b", False), layer("b", "c", True), layer("a", "d", False)])
    assert axes == {"a": 1, "c": -1, "d": 1}


def test_a_tensor_without_the_axis_has_no_channels() -> None:
    found = collect(
        lambda sample: {"x": np.float32([1, 2])}, samples(1), ORIGIN, Collected({"x": 1})
    )
    assert "x" in found.tensors and "x" not in found.channels


class TestRefused:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_names_tensor_and_sample(self, bad: float) -> None:
        data = samples(3)
        data[1]["x"][0, 2, 3, 3] = bad
        with pytest.raises(UsageError, match="sample 1 gives NaN or Inf in tensor x"):
            collect(tap, data, ORIGIN, ALL)

    def test_no_samples(self) -> None:
        with pytest.raises(UsageError, match=r"data\.npz holds no calibration samples"):
            collect(tap, [], ORIGIN, ALL)

    def test_a_sample_on_which_the_model_fails(self, tmp_path: Path) -> None:
        run = onnx.tap(conv_net(tmp_path / "net.onnx"))
        data = [{"x": array} for array in normal(1, 2, 1, 3, 12, 12)]
        data.append({"x": np.zeros((1, 3, 2, 2), np.float32)})
        with pytest.raises(UsageError, match="fails on calibration sample 2: "):
            collect(run, data, ORIGIN, Collected())

    @pytest.mark.parametrize(
        ("origin", "collected", "what"),
        [
            (Origin("onnx", "00" * 32, "cd" * 32, ""), ALL, "another model"),
            (Origin("onnx", "ab" * 32, "00" * 32, ""), ALL, "other data"),
            (ORIGIN, Collected(), "other tensors"),
        ],
    )
    def test_going_on_with_something_else(
        self, origin: Origin, collected: Collected, what: str
    ) -> None:
        begun = collect(tap, samples(2), ORIGIN, ALL)
        with pytest.raises(UsageError, match=f"is of {what}"):
            collect(tap, samples(2), origin, collected, resume_from=begun)


class TestInterrupted:
    def test_between_samples(self, tmp_path: Path) -> None:
        path = tmp_path / "statistics.npz"

        def stopping() -> Iterator[dict[str, np.ndarray]]:
            for index, sample in enumerate(samples(6)):
                if index == 4:
                    raise KeyboardInterrupt
                yield sample

        with pytest.raises(KeyboardInterrupt):
            collect(tap, stopping(), ORIGIN, ALL, checkpoint=lambda s: save(s, path))
        begun = load(path)
        # The model had run on one more, which was not counted yet.
        assert begun.samples == 3 and not begun.complete
        ran: list[int] = []

        def counting(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
            ran.append(1)
            return tap(sample)

        resumed = collect(counting, samples(6), ORIGIN, ALL, resume_from=begun)
        assert len(ran) == 3
        assert state(resumed) == state(collect(tap, samples(6), ORIGIN, ALL))

    def test_anywhere(self, tmp_path: Path) -> None:
        """Ctrl-C at whatever moment it comes, again and again, costs no sample and no bit."""
        path = tmp_path / "statistics.npz"
        data = samples(150, size=48)
        whole = collect(tap, data, ORIGIN, ALL)
        interruptions = 0
        for attempt in range(300):
            begun = load(path) if path.exists() else None
            timer = threading.Timer(
                0.002 + 0.0007 * (attempt % 29), os.kill, (os.getpid(), signal.SIGINT)
            )
            try:
                try:
                    timer.start()
                    found = collect(
                        tap, data, ORIGIN, ALL, resume_from=begun,
                        checkpoint=lambda s: save(s, path),
                    )  # fmt: skip
                    break
                finally:
                    timer.cancel()
                    timer.join()
            except KeyboardInterrupt:
                interruptions += 1
        assert interruptions > 2
        assert state(found) == state(whole)

    def test_a_process_of_its_own(self, tmp_path: Path) -> None:
        """SIGINT to a running calibration of a real model leaves a file to go on from."""
        model, path = conv_net(tmp_path / "net.onnx"), tmp_path / "statistics.npz"
        script = tmp_path / "calibrate.py"
        script.write_text(
            textwrap.dedent(f"""
            import time
            from pathlib import Path
            from models import normal
            from edgewright.exporters.quantize import onnx
            from edgewright.exporters.quantize.calibrate import collect
            from edgewright.exporters.quantize.statistics import Collected, Origin
            from edgewright.exporters.quantize.statistics_file import save

            run = onnx.tap(Path({str(model)!r}))
            def slowly(sample):
                time.sleep(0.02)
                return run(sample)
            data = [{{"x": x}} for x in normal(1, 500, 1, 3, 12, 12)]
            collect(slowly, data, Origin("onnx", "ab" * 32, "cd" * 32, ""), Collected(),
                    checkpoint=lambda s: save(s, Path({str(path)!r})),
                    on_sample=lambda done: print(done, flush=True))
            """)
        )
        tests = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
        process = subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 5:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0 and "KeyboardInterrupt" in errors
        begun = load(path)
        assert 5 <= begun.samples < 100 and not begun.complete
        data = [{"x": x} for x in normal(1, 500, 1, 3, 12, 12)][: begun.samples + 10]
        run = onnx.tap(model)
        resumed = collect(run, data, ORIGIN, Collected(), resume_from=begun)
        assert state(resumed) == state(collect(run, data, ORIGIN, Collected()))

    def test_before_the_first_sample_there_is_nothing_to_keep(self) -> None:
        kept: list[Statistics] = []

        def failing(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collect(failing, samples(2), ORIGIN, ALL, checkpoint=kept.append)
        assert not kept

    def test_every_so_often_without_an_interruption(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calibrate, "CHECKPOINT_S", 0.0)
        path, kept = tmp_path / "statistics.npz", []

        def keep(statistics: Statistics) -> None:
            save(statistics, path)
            kept.append(load(path))

        whole = collect(tap, samples(3), ORIGIN, ALL, checkpoint=keep)
        assert [(part.samples, part.complete) for part in kept] == [(k, False) for k in (1, 2, 3)]
        resumed = collect(tap, samples(3), ORIGIN, ALL, resume_from=kept[1])
        assert state(resumed) == state(whole)

    def test_what_is_complete_is_not_run_again(self) -> None:
        whole = collect(tap, samples(3), ORIGIN, ALL)

        def never(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
            raise AssertionError

        assert collect(never, samples(3), ORIGIN, ALL, resume_from=whole) is whole

    def test_in_another_thread(self) -> None:
        """Where no signal handler can be set, there is no Ctrl-C to hold."""
        found: list[Statistics] = []
        thread = threading.Thread(
            target=lambda: found.append(collect(tap, samples(3), ORIGIN, ALL))
        )
        thread.start()
        thread.join(timeout=30)
        assert found and found[0].samples == 3
