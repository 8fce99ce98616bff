"""Statistics as a file: what was saved comes back, and nothing else passes for it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import EdgewrightError, IntegrityError, UsageError
from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.recipe import RangeMethod
from edgewright.exporters.quantize.statistics import Collected, Origin, Statistics
from edgewright.exporters.quantize.statistics_file import load, require_for, save
from edgewright.exporters.quantize.tensor_statistics import ChannelStatistics, TensorStatistics

ORIGIN = Origin("onnx", "ab" * 32, "cd" * 32, "pictures/")


def statistics(seed: int = 0) -> Statistics:
    """Of three tensors, one of them with channels, covariance and histograms for each channel."""
    generator = np.random.default_rng(seed)
    whole = {name: TensorStatistics.empty() for name in ("a/b:0", "zeros", "ünïcode .npy")}
    channels = ChannelStatistics.empty(1, 3, covariance=True)
    each = TensorStatistics.empty(3)
    for _ in range(4):
        values = generator.normal(size=(1, 3, 20)).astype(np.float32)
        whole["a/b:0"].add(values)
        channels.add(values)
        each.add(values[0])
        whole["zeros"].add(np.zeros(5, np.float32))
    return Statistics(
        origin=ORIGIN,
        collected=Collected({"a/b:0": 1}, frozenset({"a/b:0"}), frozenset({"a/b:0"})),
        samples=4,
        complete=True,
        tensors=whole,
        channels={"a/b:0": channels},
        per_channel={"a/b:0": each},
    )


def assert_same(one: Any, other: Any) -> None:
    """Bit for bit."""
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype and left.tobytes() == right.tobytes(), field.name
        elif field.name in ("tensors", "channels", "per_channel"):
            assert list(left) == list(right)
            for name in left:
                assert_same(left[name], right[name])
        else:
            assert left == right, field.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(statistics(), tmp_path / "statistics.npz")
    return tmp_path / "statistics.npz"


@pytest.mark.parametrize("complete", [True, False])
def test_what_was_saved_comes_back(tmp_path: Path, complete: bool) -> None:
    saved = replace(statistics(), complete=complete)
    save(saved, tmp_path / "s.npz")
    loaded = load(tmp_path / "s.npz")
    assert_same(saved, loaded)
    assert loaded.origin.data_description == "pictures/"
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_without_anything_but_whole_tensors(tmp_path: Path) -> None:
    saved = replace(statistics(), channels={}, per_channel={}, collected=Collected())
    save(saved, tmp_path / "s.npz")
    assert_same(saved, load(tmp_path / "s.npz"))


def test_what_is_loaded_counts_on_by_itself(path: Path) -> None:
    loaded = load(path)
    before = loaded.tensors["zeros"].counts.copy()
    loaded.tensors["a/b:0"].add(np.full(7, 100, np.float32))
    assert np.array_equal(loaded.tensors["zeros"].counts, before)
    again = load(path).tensors["a/b:0"]
    assert loaded.tensors["a/b:0"].count[0] == again.count[0] + 7


class TestQuestions:
    def test_means_extremes_and_covariance_of_channels(self) -> None:
        asked = statistics()
        values = asked.channels["a/b:0"]
        assert np.array_equal(asked.means("a/b:0"), values.total / 80)
        assert np.array_equal(asked.channel_minima("a/b:0"), values.minimum)
        assert np.array_equal(asked.channel_maxima("a/b:0"), values.maximum)
        covariance = asked.covariance("a/b:0")
        assert covariance is not None and covariance.dtype == np.float32
        assert values.covariance is not None
        np.testing.assert_allclose(covariance, values.covariance / 80, rtol=1e-6)
        assert asked.has_covariances and asked.covariance("zeros") is None

    def test_ranges(self) -> None:
        asked, grid = statistics(), Grid(8, True, False)
        low, high = asked.range("a/b:0", grid, RangeMethod(method="min-max"))
        lows, highs = asked.channel_ranges("a/b:0", grid, RangeMethod(method="min-max"))
        assert isinstance(low, float) and lows.shape == (3,)
        assert (low, high) == (lows.min(), highs.max())
        assert asked.range("zeros", grid, RangeMethod()) == (0.0, 0.0)

    @pytest.mark.parametrize("ask", ["range", "channel_ranges", "means", "channel_minima"])
    def test_a_tensor_that_is_not_there(self, ask: str) -> None:
        more = (Grid(8, True, False), RangeMethod()) if "range" in ask else ()
        with pytest.raises(UsageError, match=r"statistics hold no.* elsewhere"):
            getattr(statistics(), ask)("elsewhere", *more)


class TestRefused:
    @pytest.mark.parametrize("part", range(20))
    def test_damage_anywhere(self, path: Path, part: int) -> None:
        content = bytearray(path.read_bytes())
        at = int(len(content) * (part + 0.5) / 20)
        content[at] ^= 0x10
        path.write_bytes(content)
        try:
            loaded = load(path)
        except EdgewrightError as error:
            assert str(path) in error.message and "\n" not in error.message
        else:
            # Bytes between the archive's members carry nothing.
            assert_same(loaded, statistics())

    def test_changed_values_with_a_sound_archive(self, path: Path) -> None:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        arrays["tensors.maximum"] = arrays["tensors.maximum"] * 2
        np.savez(path, **arrays)
        with pytest.raises(IntegrityError, match="is damaged"):
            load(path)

    @pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
    def test_cut_short(self, path: Path, share: float) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(IntegrityError, match="is damaged"):
            load(path)

    def test_another_schema_version(self, path: Path) -> None:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = {**json.loads(arrays["header"].tobytes()), "schema_version": 7}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, **arrays)
        with pytest.raises(UsageError, match=r"schema version 7; .* reads 1") as caught:
            load(path)
        assert caught.value.hint is not None

    def test_what_is_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "other"
        for content in (b"", b"{}", b"\x80\x04N.", b"\x93NUMPY\x01\x00"):
            path.write_bytes(content)
            with pytest.raises(UsageError, match="is no file of calibration statistics"):
                load(path)
        for arrays in (
            {"x": np.zeros(3)},
            {"header": np.zeros(3)},
            {"header": np.frombuffer(b"[]", np.uint8)},
            {"header": np.frombuffer(b'{"schema_version": 1}', np.uint8)},
            {"header": np.array(["text"])},
        ):
            with path.open("wb") as handle:
                np.savez(handle, **arrays)
            with pytest.raises(UsageError, match="is no file of calibration statistics"):
                load(path)
        with path.open("wb") as handle:
            np.save(handle, np.zeros(3))
        with pytest.raises(UsageError, match="is no file of calibration statistics"):
            load(path)

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        path = tmp_path / "s.npz"
        np.savez(path, header=np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(UsageError, match="is no file of calibration statistics"):
            load(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such file"):
            load(tmp_path / "s.npz")

    def test_a_folder_that_can_not_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="can't write"):
            save(statistics(), tmp_path / "file" / "s.npz")


class TestRequiredForAModel:
    def test_the_right_one(self, path: Path) -> None:
        require_for(load(path), "ab" * 32, path)

    def test_another_model(self, path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"another model .*abababababab.*efefefefefef"
        ) as caught:
            require_for(load(path), "ef" * 32, path)
        assert caught.value.hint is not None and "--calibration" in caught.value.hint

    def test_one_that_was_stopped(self, path: Path) -> None:
        with pytest.raises(UsageError, match="stopped after 4 samples"):
            require_for(replace(statistics(), complete=False), "ab" * 32, path)
