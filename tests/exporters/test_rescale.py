"""Statistics that equalization has scaled, against those of the model really equalized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import artifact, conv_net
from quantizing import rows, uneven_net

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Dataset
from edgewright.exporters.quantize.apply import _consumers, _corrected, calibrate, layers_of
from edgewright.exporters.quantize.equalize import channel_factors, find_pairs
from edgewright.exporters.quantize.grid import Doubles, Grid
from edgewright.exporters.quantize.recipe import RangeMethod
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.rescale import rescaled
from edgewright.exporters.quantize.statistics import Statistics

EQUALIZED = RECIPES["int8-u8s8"].recipe.model_copy(update={"equalization": True})
UINT8 = Grid(8, signed=False, symmetric=False)


def both(
    model: Artifact, data: Dataset, folder: Path
) -> tuple[Statistics, Statistics, dict[str, Doubles]]:
    """Statistics as `quantize` scales them, those of the model it equalizes, and the factors."""
    statistics = calibrate(model, data, covariances=True)
    path, scaled = _corrected(model, EQUALIZED, statistics, folder)
    assert scaled is not None and path != model.path
    again = calibrate(artifact(path), data, covariances=True)
    layers = layers_of(model)
    factors = channel_factors(layers, find_pairs(layers, _consumers(model)), statistics)
    return scaled, again, factors


def test_scaled_statistics_are_those_of_the_equalized_model(tmp_path: Path) -> None:
    model = uneven_net(tmp_path / "net.onnx")
    scaled, again, factors = both(model, rows(tmp_path / "x.npz", model, 8), tmp_path)
    assert factors.keys() == {"r1", "r2"}
    assert max(f.max() / f.min() for f in factors.values()) > 100
    assert scaled.tensors.keys() == again.tensors.keys()
    assert scaled.channels.keys() == again.channels.keys()
    for name in scaled.channels:
        reach = np.abs([again.channel_minima(name), again.channel_maxima(name)]).max()
        for found, wanted in (
            (scaled.channel_minima(name), again.channel_minima(name)),
            (scaled.channel_maxima(name), again.channel_maxima(name)),
            (scaled.means(name), again.means(name)),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * reach)
        covariance, wanted_covariance = scaled.covariance(name), again.covariance(name)
        assert (covariance is None) == (wanted_covariance is None)
        if covariance is not None and wanted_covariance is not None:
            np.testing.assert_allclose(
                covariance, wanted_covariance, rtol=1e-3, atol=1e-5 * np.abs(covariance).max()
            )
    for name in scaled.tensors:
        found = scaled.range(name, UINT8, RangeMethod(method="min-max"))
        wanted = again.range(name, UINT8, RangeMethod(method="min-max"))
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


def test_any_method_takes_the_extremes_of_a_scaled_tensor(tmp_path: Path) -> None:
    model = uneven_net(tmp_path / "net.onnx")
    scaled, again, factors = both(model, rows(tmp_path / "x.npz", model, 8), tmp_path)
    for name, factor in factors.items():
        if np.all(factor == 1):
            continue
        extremes = again.range(name, UINT8, RangeMethod(method="min-max"))
        for method in (
            RangeMethod(percentile=99.9),
            RangeMethod(method="moving-average"),
            RangeMethod(method="mse"),
            RangeMethod(method="entropy"),
        ):
            found = scaled.range(name, UINT8, method)
            assert found == pytest.approx(extremes, rel=1e-3, abs=1e-6), (name, method)


def test_nothing_scaled_is_nothing_changed(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    statistics = calibrate(model, rows(tmp_path / "x.npz", model, 4))
    same = rescaled(statistics, {name: np.ones(8) for name in statistics.channels})
    assert all(same.tensors[n] is statistics.tensors[n] for n in statistics.tensors)
    assert rescaled(statistics, {"no such tensor": np.full(3, 2.0)}).tensors == dict(
        statistics.tensors
    )


def test_the_statistics_that_were_given_stay_as_they_are(tmp_path: Path) -> None:
    model = artifact(conv_net(tmp_path / "net.onnx"))
    statistics = calibrate(model, rows(tmp_path / "x.npz", model, 4))
    name = next(n for n, c in statistics.channels.items() if c.total.size == 8)
    before = (
        statistics.channel_maxima(name).copy(),
        statistics.range(name, UINT8, RangeMethod(method="min-max")),
    )
    rescaled(statistics, {name: np.full(8, 3.0)})
    assert np.array_equal(statistics.channel_maxima(name), before[0])
    assert statistics.range(name, UINT8, RangeMethod(method="min-max")) == before[1]
