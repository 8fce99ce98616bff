"""Data in whatever form the user keeps it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import normal, port

from edgewright.errors import UsageError
from edgewright.exporters.artifact import Port
from edgewright.exporters.data import Dataset, open_dataset, seeded_samples
from edgewright.targets.facts import Quantization, TensorSpec


def npz(directory: Path, **arrays: object) -> str:
    path = directory / "data.npz"
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return str(path)


def function(directory: Path, body: str, *ports: Port) -> Dataset:
    name = f"user_{abs(hash(body))}.py"
    (directory / name).write_text(f"import numpy as np\n\ndef data():\n{body}")
    return open_dataset(f"{name}:data", ports or [port(1, 3)], base=directory)


def test_npz_gives_its_arrays_by_the_models_names(tmp_path: Path) -> None:
    images = np.stack(normal(0, 5, 3, 2))
    ids = np.arange(5 * 4).reshape(5, 1, 4)
    spec = npz(tmp_path, image=images, ids=ids, labels=[4, 3, 2, 1, 0], unused=np.zeros(9))
    data = open_dataset(spec, [port(1, 3, 2, name="image"), port(1, 4, name="ids", dtype="int32")])
    samples = list(data)
    assert len(data) == len(samples) == 5 and data.has_labels
    for index, sample in enumerate(samples):
        assert list(sample.inputs) == ["image", "ids"]
        assert np.array_equal(sample.inputs["image"], images[index][None])
        assert np.array_equal(sample.inputs["ids"], ids[index])
        assert sample.inputs["ids"].dtype == np.int32
        assert sample.label is not None and int(sample.label) == 4 - index
    assert len(data.first(2)) == 2 and len(data.first(99)) == 5


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).flatmap(
        lambda shape: st.tuples(
            st.just(tuple(shape)),
            hnp.arrays(
                np.float32,
                st.integers(1, 3).map(lambda count: (count, *shape)),
                elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
            ),
        )
    )
)
@settings(max_examples=40, deadline=None)
def test_what_fits_passes_unchanged(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[tuple[int, ...], np.ndarray]
) -> None:
    shape, arrays = drawn
    spec = npz(tmp_path_factory.mktemp("npz"), x=arrays)
    for wanted in ((1, *shape), (None, *shape)):
        given_back = [sample.inputs["x"] for sample in open_dataset(spec, [port(*wanted)])]
        assert all(array.shape == (1, *shape) for array in given_back)
        assert np.array_equal(np.concatenate(given_back), arrays)
        assert given_back[0].dtype == np.float32


def test_scale_is_for_integers_that_feed_reals(tmp_path: Path) -> None:
    spec = npz(tmp_path, x=np.uint8([[0, 255]]), y=np.float32([[2, 3]]), z=np.int64([[4, 5]]))
    ports = [port(1, 2), port(1, 2, name="y"), port(1, 2, name="z", dtype="int64")]
    (sample,) = open_dataset(spec, ports, scale=1 / 255)
    assert np.array_equal(sample.inputs["x"], np.float32([[0, 1]]))
    assert np.array_equal(sample.inputs["y"], np.float32([[2, 3]]))
    assert np.array_equal(sample.inputs["z"], np.int64([[4, 5]]))
    (unscaled,) = open_dataset(spec, ports)
    assert np.array_equal(unscaled.inputs["x"], np.float32([[0, 255]]))


def test_quantized_inputs_take_real_values(tmp_path: Path) -> None:
    spec = TensorSpec("x", (1, 2), "int8", Quantization(0.5, 3))
    (sample,) = open_dataset(npz(tmp_path, x=np.float32([[1, -1]])), [Port("x", spec)])
    assert sample.inputs["x"].dtype == np.float32
    assert np.array_equal(Port("x", spec).to_artifact(sample.inputs["x"]), np.int8([[5, 1]]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [[1.0] * 3]}, r"has no array for the model's input x; it holds y"),
        ({"x": [[1.0] * 3] * 2, "labels": [0]}, r"differ in their first dimension: x 2, labels 1"),
        ({"x": [[1.0] * 4]}, r"sample 0: input x has shape 1x4, but the model takes 1x3"),
        ({"x": np.zeros((0, 3))}, r"holds no samples"),
        ({"x": 1.0}, r"holds no samples"),
        ({"x": [["a", "b", "c"]]}, r"input x is <U1, not numbers"),
        ({"x": [[1.0, np.nan, 0]]}, r"sample 0: input x holds NaN or Inf"),
        ({"x": [[1.0, np.inf, 0]]}, r"sample 0: input x holds NaN or Inf"),
        ({"x": [[1.0, 1e39, 0]]}, r"sample 0: input x holds values too large for float32"),
        ({"x": [[1j, 0, 0]]}, r"input x is complex128, not numbers"),
    ],
)
def test_npz_that_does_not_fit(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(npz(tmp_path, **arrays), [port(1, 3)])


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("int32", [[0.5]], "input x is float64, but the model takes int32"),
        ("uint8", [[256]], "input x holds values outside uint8"),
        ("uint8", [[-1]], "input x holds values outside uint8"),
        ("int32", [[2**40]], "input x holds values outside int32"),
    ],
)
def test_integers_never_wrap(
    tmp_path: Path, dtype: str, values: list[list[float]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(npz(tmp_path, x=values), [port(1, 1, dtype=dtype)])


def test_a_bad_sample_is_named_by_its_place(tmp_path: Path) -> None:
    data = open_dataset(npz(tmp_path, x=[[1.0], [2.0], [np.nan]]), [port(1, 1)])
    with pytest.raises(UsageError, match=r"data\.npz, sample 2: input x holds NaN"):
        list(data)


def test_an_input_of_no_size_is_refused(tmp_path: Path) -> None:
    """A batch of none runs in most runtimes, and gives answers that mean nothing."""
    with pytest.raises(UsageError, match=r"sample 0: input x has shape 0x3, which holds nothing"):
        open_dataset(npz(tmp_path, x=np.zeros((2, 0, 3))), [port(None, 3)])
    body = "    yield np.ones((1, 3), np.float32)\n    yield np.ones((0, 3), np.float32)"
    with pytest.raises(UsageError, match=r"sample 1: input x has shape 0x3, which holds nothing"):
        list(function(tmp_path, body, port(None, 3)))


def test_the_head_of_data(tmp_path: Path) -> None:
    data = open_dataset(npz(tmp_path, x=[[1.0], [2.0], [3.0]], labels=[4, 5, 6]), [port(1, 1)])
    head = data.head(2)
    assert len(head) == 2 and head.has_labels and len(data.head(9)) == 3
    assert [int(sample.label) for sample in head if sample.label is not None] == [4, 5]
    assert [sample.inputs["x"][0, 0] for sample in head] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY", bytes(range(256))])
def test_garbage_is_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.npz can't be read as an \.npz file"):
        open_dataset(str(path), [port(1, 3)])


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = Path(npz(tmp_path, x=np.stack(normal(0, 100, 3))))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=r"can't be read as an \.npz file"):
        open_dataset(str(path), [port(1, 3)])


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match=r"Object arrays cannot be loaded"):
        open_dataset(str(tmp_path / "p.npz"), [port(1, 3)])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gone.npz", r"gone\.npz: no such file"),
        ("gone", r"gone: no such file or folder"),
        ("data.csv", r"data\.csv: not data Edgewright reads"),
        ("gone.py:data", r"gone\.py: no such file"),
    ],
)
def test_what_is_no_data(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "data.csv").write_text("1,2,3")
    with pytest.raises(UsageError, match=message):
        open_dataset(spec, [port(1, 3)], base=tmp_path)


@pytest.mark.parametrize(
    ("have", "want", "hint"),
    [
        ((1, 8, 6, 3), (1, 3, 8, 6), "the data seem to be channels last"),
        ((1, 3, 8, 6), (1, 8, 6, 3), "the data seem to be channels first"),
        ((1, 3, 8, 6), (None, 8, 6, 3), "the data seem to be channels first"),
        ((1, 3, 8, 6), (1, 3, 8, 7), None),
    ],
)
def test_a_swapped_layout_is_recognized(
    tmp_path: Path, have: tuple[int, ...], want: tuple[int | None, ...], hint: str | None
) -> None:
    with pytest.raises(UsageError, match="has shape") as caught:
        open_dataset(npz(tmp_path, x=np.zeros((2, *have), np.float32)), [port(*want)])
    if hint is None:
        assert caught.value.hint is None
    else:
        assert caught.value.hint is not None and caught.value.hint.startswith(hint)


def test_functions_give_dictionaries_arrays_and_labels(tmp_path: Path) -> None:
    bare = function(tmp_path, "    for i in range(3):\n        yield np.full((1, 3), i, 'f4')\n")
    assert len(bare) == 3 and not bare.has_labels
    assert [sample.inputs["x"][0, 0] for sample in bare] == [0, 1, 2]
    assert [sample.inputs["x"][0, 0] for sample in bare] == [0, 1, 2]  # and once again
    named = function(
        tmp_path,
        "    return [({'x': np.ones((1, 3)), 'n': [[7]]}, i) for i in range(2)]\n",
        port(1, 3),
        port(1, 1, name="n", dtype="int64"),
    )
    assert named.has_labels and [int(sample.label or 0) for sample in named] == [0, 1]
    assert next(iter(named)).inputs["x"].dtype == np.float32
    assert next(iter(named)).inputs["n"].dtype == np.int64
    partly = function(tmp_path, "    yield np.ones((1, 3)), 1\n    yield np.ones((1, 3)), None\n")
    assert not partly.has_labels


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    yield np.ones((1, 3))\n    raise KeyError('k')\n", r"sample 1, raised KeyError: 'k'"),
        (
            "    raise OSError('no disk')\n",
            r":data raised OSError: no disk|sample 0, raised OSError",
        ),
        ("    return 5\n", r"raised TypeError: 'int' object is not iterable"),
        ("    yield {'y': np.ones((1, 3))}\n", r"sample 0 has no input x; it has y"),
        ("    yield None\n", r"sample 0: input x has shape , but the model takes 1x3"),
        ("    yield [[1, 2], [3]]\n", r"sample 0, raised ValueError"),
        ("    yield np.ones((1, 3)) * np.nan\n", r"sample 0: input x holds NaN or Inf"),
        ("    yield from ()\n", r"holds no samples"),
        ("    import sys; sys.exit(0)\n", r"raised SystemExit"),
    ],
)
def test_functions_that_fail_are_blamed(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        function(tmp_path, body)


def test_the_failing_line_is_named(tmp_path: Path) -> None:
    body = "    yield np.ones((1, 3))\n    yield 1 / 0\n"
    with pytest.raises(UsageError, match=r"user_\d+\.py, line 5\)"):
        function(tmp_path, body)


def test_one_array_does_not_do_for_two_inputs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sample 0: is ndarray, but the model has 2 inputs"):
        function(tmp_path, "    yield np.ones((1, 3))\n", port(1, 3), port(1, 3, name="z"))


def test_identity_is_the_contents(tmp_path: Path) -> None:
    def of(name: str, values: list[float]) -> str:
        path = tmp_path / name
        np.savez(path, x=np.float32(values)[:, None])
        return open_dataset(str(path), [port(1, 1)]).identity

    assert of("a.npz", [1, 2]) == of("b.npz", [1, 2])
    assert of("a.npz", [1, 2]) != of("a.npz", [1, 3])


def test_identity_of_a_function_is_what_it_yields(tmp_path: Path) -> None:
    script = tmp_path / "grow.py"
    (tmp_path / "value").write_text("1")
    script.write_text(
        "import pathlib, numpy as np\nHERE = pathlib.Path(__file__).parent\n"
        "def data():\n    yield np.full((1, 1), float((HERE / 'value').read_text()))\n"
    )
    first = open_dataset("grow.py:data", [port(1, 1)], base=tmp_path).identity
    assert open_dataset("grow.py:data", [port(1, 1)], base=tmp_path).identity == first
    (tmp_path / "value").write_text("2")
    assert open_dataset("grow.py:data", [port(1, 1)], base=tmp_path).identity != first


def test_seeded_samples_fit_and_repeat() -> None:
    ports = [
        port(None, 3),
        port(1, 50, name="ids", dtype="int64"),
        port(1, 2, name="m", dtype="bool"),
    ]
    samples, again = seeded_samples(ports, 2), seeded_samples(ports, 2)
    for one, other in zip(samples, again, strict=True):
        assert all(np.array_equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    assert samples[0].inputs["x"].shape == (1, 3) and samples[0].inputs["x"].dtype == np.float32
    assert set(np.unique(samples[0].inputs["ids"])) == {0, 1}
    assert samples[0].inputs["m"].dtype == np.bool_
    assert not np.array_equal(samples[0].inputs["x"], samples[1].inputs["x"])


def test_pictures_need_one_input_and_words_for_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("but the model has 2 inputs")):
        open_dataset(str(tmp_path), [port(1, 3), port(1, 3, name="z")])
    with pytest.raises(UsageError, match="nothing says how to preprocess"):
        open_dataset(str(tmp_path), [port(1, 3)])
