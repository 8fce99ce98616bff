"""Keras models and SavedModels, converted for real and compared with the source."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converting import convert, need_extra, operators

from edgewright.errors import ConversionError, UsageError

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True, scope="module")
def extra() -> None:
    need_extra("tensorflow", ("tensorflow",))


@pytest.fixture(scope="module")
def home(extra: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory with every model, as a user would save them."""
    import keras
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 6, 3), name="image")
    condition = keras.Input((5,), name="condition")
    features = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    features = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(features))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    logits = keras.layers.Dense(4, name="logits")(keras.layers.Concatenate()([pooled, condition]))
    named = keras.Model({"image": image, "condition": condition}, {"z": logits, "mask": features})
    named.save(directory / "named.keras")
    listed = keras.Model([image, condition], [logits, condition])
    listed.save(directory / "listed.h5")
    listed.export(directory / "exported", verbose=False)

    recurrent = keras.Sequential([keras.Input((10, 4)), keras.layers.LSTM(6)])
    recurrent.save(directory / "recurrent.keras")
    recurrent.export(directory / "recurrent", verbose=False)
    ids = keras.Input((6,), dtype="int64", name="ids", batch_size=2)
    keras.Model(ids, keras.layers.Embedding(50, 8, name="vectors")(ids)).save(
        directory / "embedding.keras"
    )

    keras.Sequential([keras.Input((None, 4)), keras.layers.LSTM(6)]).save(
        directory / "any_length.keras"
    )
    keras.Sequential([keras.layers.Dense(3)]).save(directory / "unbuilt.keras")
    doubled = keras.layers.Lambda(lambda x: x * 2)
    keras.Sequential([keras.Input((3,)), doubled]).save(directory / "lambda.keras")
    keras.Sequential([keras.Input((3,)), doubled]).save(directory / "lambda.h5")

    class OfMine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((3,)), OfMine()]).save(directory / "custom.keras")
    text = keras.Input((1,), dtype="string", name="text")
    keras.Model(text, keras.layers.Identity()(text)).save(directory / "text.keras")

    class Functions(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 2, 2), tf.float32, "matrix")])  # type: ignore[untyped-decorator]
        def svd(self, matrix: Any) -> dict[str, Any]:
            return {"values": tf.linalg.svd(matrix, compute_uv=False)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])  # type: ignore[untyped-decorator]
        def same(self, x: Any) -> Any:
            return x

    functions = Functions()
    tf.saved_model.save(functions, directory / "svd", signatures=functions.svd)
    tf.saved_model.save(functions, directory / "other", signatures={"other": functions.svd})
    tf.saved_model.save(functions, directory / "unsigned")
    return directory


def test_a_model_of_dicts(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = convert(f"{home}/named.keras", "tflite", tmp_path, layout="nhwc")
    assert capfd.readouterr() == ("", "")
    result.assert_agrees()
    converted = result.converted
    examples = dict(zip(converted.input_names, converted.example_inputs, strict=True))
    assert {name: array.shape for name, array in examples.items()} == {
        "image": (1, 8, 6, 3),
        "condition": (1, 5),
    }
    assert {name: array.shape for name, array in result.outputs.items()} == {
        "z": (1, 4),
        "mask": (1, 8, 6, 8),
    }
    assert set(converted.input_permutations + converted.output_permutations) == {None}
    assert not operators(result.path) & {"VAR_HANDLE", "READ_VARIABLE"}


def test_a_model_of_lists_in_hdf5(home: Path, tmp_path: Path) -> None:
    result = convert(f"{home}/listed.h5", "tflite", tmp_path)
    result.assert_agrees()
    assert set(result.converted.input_names) == {"image", "condition"}
    assert set(result.outputs) == {"logits", "condition_output"}


def test_an_open_batch_of_a_recurrent_layer_is_fixed(home: Path, tmp_path: Path) -> None:
    result = convert(f"{home}/recurrent.keras", "tflite", tmp_path)
    result.assert_agrees()
    assert [array.shape for array in result.converted.example_inputs] == [(1, 10, 4)]


def test_integer_inputs_and_a_batch_of_its_own(home: Path, tmp_path: Path) -> None:
    result = convert(f"{home}/embedding.keras", "tflite", tmp_path)
    result.assert_agrees()
    assert result.converted.input_names == ("ids",)
    assert result.converted.output_names == ("vectors",)
    assert [array.dtype for array in result.converted.example_inputs] == [np.int64]
    assert result.outputs["vectors"].shape == (2, 6, 8)


def test_a_saved_model(home: Path, tmp_path: Path) -> None:
    result = convert(f"{home}/exported", "tflite", tmp_path)
    result.assert_agrees()
    assert set(result.converted.input_names) == {"image", "condition"}
    assert set(result.outputs) == {"output_0", "output_1"}
    assert result.outputs["output_0"].shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("any_length.keras", r"input input_layer\w* has the open shape \(None, None, 4\)"),
        ("text.keras", "input text takes string values"),
        ("recurrent", "a dimension that is known only at run time"),
        ("svd", "no built-in operator for Svd"),
    ],
)
def test_a_model_that_can_not_be_converted(
    home: Path,
    tmp_path: Path,
    name: str,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConversionError, match=message) as raised:
        convert(f"{home}/{name}", "tflite", tmp_path)
    assert "\n" not in raised.value.message
    assert raised.value.hint
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unbuilt.keras", "does not say what the model's inputs are"),
        ("lambda.keras", "holds a Lambda layer"),
        ("lambda.h5", "holds a Lambda layer"),
        ("custom.keras", "uses OfMine, Python code that is not in the file"),
        ("other", "no signature serving_default; it has other"),
        ("unsigned", "no signature serving_default; it has none at all"),
    ],
)
def test_a_source_that_is_wrong(home: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        convert(f"{home}/{name}", "tflite", tmp_path)
    assert raised.value.hint


@pytest.mark.parametrize("name", ["named.keras", "listed.h5"])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"garbage" * 100, id="garbage"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
    ],
)
def test_a_broken_file(
    home: Path,
    tmp_path: Path,
    name: str,
    broken: Callable[[bytes], bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    path.write_bytes(broken((home / name).read_bytes()))
    with pytest.raises(UsageError, match=rf"{name} (is no Keras file|can't be loaded by Keras)"):
        convert(str(path), "tflite", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_zip_that_is_no_keras_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("hello", "there")
    with pytest.raises(UsageError, match=r"other\.keras can't be loaded by Keras"):
        convert(f"{tmp_path}/other.keras", "tflite", tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda model: (model / "saved_model.pb").write_bytes(b"garbage"), id="graph"),
        pytest.param(lambda model: shutil.rmtree(model / "variables"), id="variables"),
    ],
)
def test_a_broken_saved_model(
    home: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(home / "exported", tmp_path / "broken")
    damage(tmp_path / "broken")
    with pytest.raises(UsageError, match="broken can't be loaded as a SavedModel"):
        convert(f"{tmp_path}/broken", "tflite", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_channels_first_is_not_to_be_had(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps its own layout"):
        convert(f"{home}/named.keras", "tflite", tmp_path, layout="nchw")


@pytest.mark.parametrize("missing", ["tensorflow", "keras"])
def test_a_missing_library(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=f"needs {missing}, which is not installed") as raised:
        convert(f"{home}/named.keras", "tflite", tmp_path)
    assert raised.value.hint == "pip install 'edgewright[tensorflow]'"


def test_keras_on_another_backend(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="Keras runs on jax"):
        convert(f"{home}/named.keras", "tflite", tmp_path)


@pytest.mark.torch
def test_pytorch_in_the_same_process(home: Path, tmp_path: Path) -> None:
    need_extra("torch", ("torch", "litert_torch"))
    (tmp_path / "model.py").write_text(
        "import torch\ndef model(): return torch.nn.Linear(3, 2).eval(), torch.ones(1, 3)\n"
    )
    (tmp_path / "torch").mkdir()
    (tmp_path / "keras").mkdir()
    convert(f"{tmp_path}/model.py:model", "tflite", tmp_path / "torch").assert_agrees()
    convert(f"{home}/embedding.keras", "tflite", tmp_path / "keras").assert_agrees()
