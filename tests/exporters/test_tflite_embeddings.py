"""Embedding tables as integers: alone, behind GATHER, and shared with a matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import convert, need_extra, operators
from ml_dtypes import bfloat16
from small_tflite import Array, Graph, Stored, run, sqnr
from tflite_making import DYNAMIC, HALF, STATIC, STORED, blocks, but, inputs, made, statistics

from edgewright.errors import UsageError
from edgewright.exporters.quantize.recipe import Rule, Scheme
from edgewright.exporters.quantize.tflite import layers
from edgewright.exporters.quantize.weights import quantize_weights

ROWS, WIDTH = 50, 64
LOOKED_UP = [
    STORED,
    DYNAMIC,
    STATIC,
    but(STORED, granularity="per-tensor"),
    but(STORED, weights="int4"),
    blocks(32),
    but(blocks(64), activations="float32"),
    but(blocks(32), weight_ranges="mse"),
]


def in_bfloat16(scale: Array) -> Array:
    return scale.astype(bfloat16).astype(np.float16).astype(np.float32)


def table() -> Array:
    return np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)


def lookup(path: Path) -> Path:
    graph = Graph()
    ids = graph.input("ids", [7], np.int32)
    rows = graph.node("EMBEDDING_LOOKUP", [ids, graph.constant("table", table())], "y", [7, WIDTH])
    return graph.write(path, rows)


def gather(path: Path, shape: list[int], **options: int) -> Path:
    graph = Graph()
    ids = graph.input("ids", shape, np.int32)
    result = [ROWS, *shape] if options.get("axis") else [*shape, WIDTH]
    nodes = [graph.constant("table", table()), ids]
    return graph.write(path, graph.node("GATHER", nodes, "y", result, "GatherOptions", **options))


def tied(path: Path) -> Path:
    """ids 7 -> rows -> ReLU -> their product with all rows."""
    graph = Graph()
    ids = graph.input("ids", [7], np.int32)
    shared = graph.constant("table", table())
    rows = graph.node("EMBEDDING_LOOKUP", [ids, shared], "rows", [7, WIDTH])
    hidden = graph.node("RELU", [rows], "hidden", [7, WIDTH])
    return graph.write(path, graph.dense(hidden, shared, "y"))


def expected(scheme: Scheme) -> Array:
    rounding = None if scheme.block_size is None else in_bfloat16
    return quantize_weights(table(), scheme, round_scale=rounding).dequantized()


@pytest.mark.parametrize("scheme", LOOKED_UP)
def test_lookups_give_the_rows_of_our_integers(scheme: Scheme, tmp_path: Path) -> None:
    path = lookup(tmp_path / "m.tflite")
    for rule in (scheme, Rule(operator="embedding", scheme=scheme)):
        quantized = made(path, rule)
        # The table is read row by row: nothing else is in the graph, and the rows are float.
        assert Stored(quantized).operators() == ["EMBEDDING_LOOKUP"]
        bits = 4 if scheme.weights == "int4" else 8
        assert quantized.stat().st_size < ROWS * WIDTH * bits / 8 + 2500
        for ids in inputs(path, 4, highest=ROWS):
            (found,) = run(quantized, *ids)
            np.testing.assert_allclose(found, expected(scheme)[ids[0]], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scheme", [*LOOKED_UP, HALF])
@pytest.mark.parametrize("shape", [[7], [2, 3], [1, 2, 2]])
def test_gathering_rows_becomes_a_lookup(scheme: Scheme, shape: list[int], tmp_path: Path) -> None:
    path = gather(tmp_path / "m.tflite", shape)
    quantized = made(path, Rule(operator="GATHER", scheme=scheme))
    reshapes = [] if len(shape) == 1 else ["RESHAPE"]
    wanted = [*reshapes, "EMBEDDING_LOOKUP", *reshapes]
    assert [each for each in Stored(quantized).operators() if each != "DEQUANTIZE"] == wanted
    rows = table().astype(np.float16) if scheme is HALF else expected(scheme)
    for ids in inputs(path, 4, highest=ROWS):
        (found,) = run(quantized, *ids)
        assert found.shape == (*shape, WIDTH)
        np.testing.assert_allclose(found, rows[ids[0]], rtol=1e-6, atol=1e-7)


@pytest.mark.tensorflow
def test_the_embedding_of_keras_becomes_a_lookup(tmp_path: Path) -> None:
    need_extra("tensorflow", ["tensorflow"])
    import keras

    source = keras.Input((5,), batch_size=1, dtype="int32")
    rows = keras.layers.Embedding(ROWS, WIDTH, embeddings_initializer="random_normal")(source)
    keras.Model(source, rows).save(tmp_path / "m.keras")
    path = convert(str(tmp_path / "m.keras"), "tflite", tmp_path).path
    assert "GATHER" in operators(path)
    quantized = made(path, Rule(operator="embedding", scheme=blocks(32)))
    assert "GATHER" not in operators(quantized)
    assert quantized.stat().st_size < path.stat().st_size / 3
    for ids in inputs(path, 4, highest=ROWS):
        assert sqnr(run(path, *ids), run(quantized, *ids)) > 15


def test_other_gathers_stay_what_they_are(tmp_path: Path) -> None:
    path = gather(tmp_path / "m.tflite", [3], axis=1)
    (ids,) = inputs(path, 1, highest=WIDTH)
    quantized = made(path, STATIC)
    assert "GATHER" in Stored(quantized).operators()
    assert sqnr(run(path, *ids), run(quantized, *ids)) > 30
    assert Stored(made(path, DYNAMIC)).operators() == ["GATHER"]


@pytest.mark.parametrize(
    "product", [STATIC, DYNAMIC, STORED, blocks(32), but(DYNAMIC, weights="int4")]
)
def test_a_shared_table_is_stored_once(product: Scheme, tmp_path: Path) -> None:
    path = tied(tmp_path / "m.tflite")
    rows = Rule(operator="embedding", scheme=but(product, activations="float32"))
    known = statistics(path, inputs(path, 20, highest=ROWS))
    quantized = made(path, Rule(operator="matrix-product", scheme=product), rows, known=known)
    assert quantized.stat().st_size < 0.6 * path.stat().st_size
    stored = Stored(quantized)
    tables = [t for t in stored.graph.tensors if list(t.shape) == [ROWS, WIDTH] and t.buffer]
    assert len(tables) == 1
    (ids,) = inputs(path, 1, highest=ROWS)
    halves = expected(product)
    wanted = np.maximum(halves[ids[0]], 0) @ halves.T
    assert sqnr([wanted], run(quantized, *ids)) > 30


def test_a_shared_table_is_rounded_for_the_product(tmp_path: Path) -> None:
    path = tied(tmp_path / "m.tflite")
    known = statistics(path, inputs(path, 60, highest=ROWS))
    product = blocks(32, rounding="gptq")
    quantized = made(
        path,
        Rule(operator="matrix-product", scheme=product),
        Rule(operator="embedding", scheme=but(blocks(32), activations="float32")),
        known=known,
    )
    (layer,) = layers(path)
    wanted = quantize_weights(
        table(), product, covariance=known.covariance(layer.input), round_scale=in_bfloat16
    )
    assert wanted.rounding == "gptq"
    np.testing.assert_array_equal(Stored(quantized).integers("table"), wanted.integers)
    assert quantized.stat().st_size < 0.6 * path.stat().st_size


def test_a_shared_table_is_copied_where_the_schemes_differ(tmp_path: Path) -> None:
    path = tied(tmp_path / "m.tflite")
    (ids,) = inputs(path, 1, highest=ROWS)
    for rows, product in ((STORED, blocks(32)), (None, DYNAMIC), (blocks(32), None)):
        quantized = made(
            path,
            Rule(operator="embedding", scheme=rows),
            Rule(operator="matrix-product", scheme=product or rows),
            *([] if product else [Rule(operator="matrix-product", scheme=None)]),
        )
        looked = table() if rows is None else expected(rows)
        multiplied = table() if product is None else expected(product)
        wanted = np.maximum(looked[ids[0]], 0) @ multiplied.T
        assert sqnr([wanted], run(quantized, *ids)) > 30


def test_asymmetric_tables_are_refused(tmp_path: Path) -> None:
    path = lookup(tmp_path / "m.tflite")
    with pytest.raises(UsageError, match="EMBEDDING_LOOKUP does not take asymmetric int8 weights"):
        made(path, but(STORED, symmetric_weights=False))
