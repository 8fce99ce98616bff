"""What one answer is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewright.errors import UsageError
from edgewright.exporters.metrics import METRICS, cosine, decibel, get_metric, powers

FLOATS = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
PAIRS = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.float32, size, elements=FLOATS), hnp.arrays(np.float32, size, elements=FLOATS)
    )
)


LOGITS = st.tuples(st.integers(1, 6), st.integers(2, 9)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.floats(-50, 50, width=32)),
        hnp.arrays(np.float32, shape, elements=st.floats(-50, 50, width=32)),
        hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Each row by the textbook; float64 holds exp(50) with ease."""
    return np.stack([np.log(np.exp(row) / np.exp(row).sum()) for row in logits.astype(np.float64)])


def score(name: str, output: object, label: object = None, floats: object = None) -> float:
    outputs = [np.asarray(output, np.float32)]
    references = outputs if floats is None else [np.asarray(floats, np.float32)]
    truth = None if label is None else np.asarray(label)
    return METRICS[name].score(outputs, references, truth)


@pytest.mark.parametrize(
    ("metric", "output", "label", "expected"),
    [
        ("top1", [[0.1, 0.7, 0.2]], 1, 1),
        ("top1", [[0.1, 0.7, 0.2]], 2, 0),
        ("top1", [[0.5, 0.5, 0.0]], 0, 1),  # a tie goes to the lower index, as argmax does
        ("top1", [[0.5, 0.5, 0.0]], 1, 0),
        ("top1", [[1, 2, 3]], [2], 1),  # a label with a dimension of its own
        ("top5", [[9, 8, 7, 6, 5, 4, 3]], 4, 1),
        ("top5", [[9, 8, 7, 6, 5, 4, 3]], 5, 0),
        ("top5", [[1, 1, 1, 1, 1, 1]], 4, 1),
        ("top5", [[1, 1, 1, 1, 1, 1]], 5, 0),
        ("top5", [[1, 2, 3]], 0, 1),  # fewer classes than five
        ("top1", [[[1, 2], [4, 3], [5, 6], [7, 8]]], [1, 0, 0, 1], 0.75),  # of a sequence
    ],
)
def test_top_k(metric: str, output: object, label: object, expected: float) -> None:
    assert score(metric, output, label) == expected


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=st.integers(0, 3)))
def test_top1_agrees_with_argmax_even_with_ties(outputs: np.ndarray) -> None:
    right = [score("top1", outputs[None], label) for label in range(outputs.size)]
    assert right == [float(label == outputs.argmax()) for label in range(outputs.size)]


@pytest.mark.parametrize("label", [3, -1, 1.0, [0, 1], None])
@pytest.mark.parametrize("metric", ["top1", "top5"])
def test_top_k_refuses_what_is_no_class(metric: str, label: object) -> None:
    with pytest.raises(UsageError, match=r"class index|outside the model's 3 classes"):
        score(metric, [[1, 2, 3]], label)


def test_agreement_looks_at_the_float_model_only() -> None:
    assert score("agreement", [[0, 2, 1]], 0, floats=[[0, 9, 8]]) == 1
    assert score("agreement", [[3, 2, 1]], 0, floats=[[0, 9, 8]]) == 0


def test_agreement_is_the_share_of_the_positions() -> None:
    output = [[[0, 2, 1], [5, 0, 0], [0, 0, 1], [1, 2, 0]]]
    floats = [[[0, 9, 8], [0, 0, 5], [0, 1, 9], [0, 1, 0]]]
    assert score("agreement", output, floats=floats) == 0.75


def test_agreement_looks_at_classes_that_are_not_the_last_axis() -> None:
    # [batch, classes, 1, 1], as nets without a flatten end. One place has no class to disagree on.
    output, floats = np.zeros((1, 3, 1, 1)), np.zeros((1, 3, 1, 1))
    output[0, 1], floats[0, 2] = 1, 1
    assert score("agreement", output, floats=floats) == 0
    assert score("agreement", output, floats=output) == 1


@given(LOGITS)
def test_agreement_is_that_of_each_row(example: tuple[np.ndarray, ...]) -> None:
    floats, outputs, _ = example
    same = [int(x.argmax()) == int(y.argmax()) for x, y in zip(floats, outputs, strict=True)]
    assert score("agreement", outputs[None], floats=floats[None]) == pytest.approx(np.mean(same))


@given(LOGITS)
def test_nll_is_that_of_the_textbook(example: tuple[np.ndarray, ...]) -> None:
    _, outputs, labels = example
    expected = -np.mean(
        [row[label] for row, label in zip(log_softmax(outputs), labels, strict=True)]
    )
    assert score("nll", outputs[None], labels) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    # A label may have the batch dimension of the outputs, and any type of integer.
    assert score("nll", outputs[None], labels[None].astype(np.uint8)) == score(
        "nll", outputs[None], labels
    )


@given(LOGITS)
def test_kl_is_that_of_the_textbook(example: tuple[np.ndarray, ...]) -> None:
    floats, outputs, _ = example
    x, y = log_softmax(floats), log_softmax(outputs)
    expected = np.mean(np.sum(np.exp(x) * (x - y), axis=1))
    found = score("kl", outputs[None], floats=floats[None])
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert score("kl", floats[None], floats=floats[None]) == 0


@given(LOGITS, st.floats(-1e4, 1e4, width=32))
def test_what_is_added_to_all_logits_changes_nothing(
    example: tuple[np.ndarray, ...], added: float
) -> None:
    floats, _, labels = example
    moved = floats + np.float32(added)
    # The sum is rounded to float32, and that is what the moved logits are.
    rounded = moved - np.float32(added)
    assert score("kl", moved, floats=rounded) == pytest.approx(0, abs=1e-2)
    assert score("nll", moved, labels) == pytest.approx(score("nll", rounded, labels), abs=1e-2)


def test_probabilities_of_large_logits_do_not_overflow() -> None:
    floats, outputs = [[[3e4, 0.0]]], [[[0.0, 3e4]]]
    assert score("nll", outputs, [0]) == pytest.approx(3e4)
    assert score("kl", outputs, floats=floats) == pytest.approx(3e4)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (None, "for each of the output's 2 positions, not nothing"),
        ([1], r"for each of the output's 2 positions, not int64 of shape \(1,\)"),
        ([0.0, 1.0], r"not float64 of shape \(2,\)"),
        ([0, 3], "label 3 at position 1 is outside the model's 3 classes"),
        ([-1, 0], "label -1 at position 0 is outside the model's 3 classes"),
    ],
)
def test_nll_refuses_what_is_no_class(label: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        score("nll", [[[1, 2, 3], [4, 5, 6]]], label)


def test_a_drop_of_nll_is_the_growth_of_perplexity() -> None:
    metric = METRICS["nll"]
    drop = metric.drop(np.log(20.0), np.log(20.4))
    assert drop == pytest.approx(np.log(1.02)) == pytest.approx(0.0198, abs=1e-5)


@given(PAIRS)
def test_cosine_is_that_of_the_textbook(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (array.astype(np.float64) for array in pair)
    found = cosine(*pair)
    assert -1 <= found <= 1
    if x.any() and y.any():
        expected = np.sum(x * y) / (np.sqrt(np.sum(x * x)) * np.sqrt(np.sum(y * y)))
        assert found == pytest.approx(expected, abs=1e-9)
    else:
        assert found == float(not x.any() and not y.any())


@given(PAIRS, st.sampled_from([0.5, 4.0]))
def test_cosine_knows_no_scale(pair: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    assert cosine(*pair) == pytest.approx(cosine(pair[0], pair[1] * np.float32(factor)), abs=1e-9)


@given(PAIRS)
def test_sqnr_is_that_of_the_textbook(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (array.astype(np.float64) for array in pair)
    signal, noise = np.sum(x * x), np.sum((x - y) ** 2)
    found = decibel(*powers(*pair))
    ratio = METRICS["sqnr"].score([pair[1]], [pair[0]], None)
    if noise == 0:
        assert found is None and ratio == 0
    elif signal == 0:
        assert found is None and ratio == np.inf
    else:
        assert found == pytest.approx(10 * np.log10(signal / noise), abs=1e-9)
        assert ratio == pytest.approx(noise / signal)


def test_sqnr_and_cosine_see_every_output() -> None:
    floats = [np.float32([1, 0]), np.float32([[0, 2]])]
    outputs = [np.float32([1, 0]), np.float32([[1, 2]])]
    assert METRICS["sqnr"].score(outputs, floats, None) == pytest.approx(1 / 5)
    second = 4 / (2 * np.sqrt(5))
    assert METRICS["cosine"].score(outputs, floats, None) == pytest.approx((1 + second) / 2)


@pytest.mark.parametrize(("name", "expected"), [("mae", 1.5), ("mse", 2.5)])
def test_errors_are_from_the_label_where_there_is_one(name: str, expected: float) -> None:
    output, other = [[1.0, 2.0]], [[50.0, 60.0]]
    assert score(name, output, [0.0, 4.0], floats=other) == expected
    assert score(name, output, None, floats=[[0.0, 4.0]]) == expected
    # Unsigned labels must not wrap.
    assert score(name, output, np.array([0, 4], np.uint8), floats=other) == expected


def test_errors_refuse_a_label_of_another_size() -> None:
    with pytest.raises(UsageError, match="a label has 3 values, but the model's output 2"):
        score("mae", [[1.0, 2.0]], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("name", list(METRICS))
def test_drop_is_positive_where_the_candidate_is_worse(name: str) -> None:
    floats = [np.float32([[0, 1, 2, 3, 4, 5, 9]])]
    worse = [np.float32([[9, 8, 7, 6, 5, 4, 3]])]
    label = None if name in ("mae", "mse") else np.asarray(6)
    metric = METRICS[name]
    own, other = metric.score(floats, floats, label), metric.score(worse, floats, label)
    assert metric.drop(own, own) == 0
    assert metric.drop(own, other) > 0


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no metric 'topp1'") as caught:
        get_metric("topp1")
    assert caught.value.hint is not None and "top1, top5" in caught.value.hint


def test_a_users_metric_gets_outputs_and_label(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def best(outputs, label):\n    return outputs[0].max() - label\n"
        "def broken(outputs, label):\n    raise KeyError('nope')\n"
        "def nothing(outputs, label):\n    return None\n"
    )
    metric = get_metric("m.py:best", tmp_path)
    assert metric.higher_is_better and not metric.needs_labels
    assert metric.score([np.float32([1, 5])], [], np.asarray(2)) == 3.0
    for name, kind in (("broken", "KeyError"), ("nothing", "TypeError")):
        with pytest.raises(UsageError, match=f"the metric m.py:{name} raised {kind}"):
            get_metric(f"m.py:{name}", tmp_path).score([np.float32([1])], [], None)
