"""TFLite models of kinds that no package of .ci/models.txt has, which LiteRT runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_tflite import ACTIVATIONS, PADDINGS, Graph

#: Multiply-accumulates of one step of `sequence_lstm`: four gates, 3 inputs, 5 cells and outputs.
LSTM_STEP_MACS = 4 * 5 * 3 + 4 * 5 * 5
LSTM_STEPS = 2 * 7


def uint8_convolution(path: Path) -> Path:
    """A 3x3 convolution of pictures as uint8, per tensor, as models before 2019 had them."""
    graph = Graph()
    image = graph.quantize(graph.input("image", [1, 8, 8, 3], np.uint8), 1 / 128, 128)
    values = np.random.default_rng(0).integers(0, 255, (4, 3, 3, 3)).astype(np.uint8)
    weights = graph.quantize(graph.constant("weights", values), 0.02, 131)
    bias = graph.quantize(graph.constant("bias", np.arange(4, dtype=np.int32)), 0.02 / 128, 0)
    out = graph.node(
        "CONV_2D", [image, weights, bias], "out", [1, 8, 8, 4], "Conv2DOptions", np.uint8,
        padding=PADDINGS.SAME, strideW=1, strideH=1,
        fusedActivationFunction=ACTIVATIONS.RELU6,
    )  # fmt: skip
    graph.quantize(out, 6 / 255, 0)
    return graph.write(path, out)


def loop(path: Path) -> Path:
    """A product with a 4x4 matrix, three times over by WHILE."""
    main = Graph()
    x = main.input("x", [1, 4])
    start = main.constant("start", np.zeros(1, np.int32))

    condition = Graph(main, "again")
    count = condition.input("count", [1], np.int32)
    condition.input("value", [1, 4])
    limit = condition.constant("limit", np.full(1, 3, np.int32))
    less = condition.node("LESS", [count, limit], "less", [1], "LessOptions", np.bool_)
    condition.graph.outputs = [less]

    body = Graph(main, "again")
    count, value = body.input("count", [1], np.int32), body.input("value", [1, 4])
    one = body.constant("one", np.ones(1, np.int32))
    more = body.node("ADD", [count, one], "more", [1], "AddOptions", np.int32)
    product = body.dense(value, body.constant("w", np.eye(4, dtype=np.float32)), "product")
    body.graph.outputs = [more, product]

    main.node(
        "WHILE", [start, x], "counted", [1], "WhileOptions", np.int32,
        condSubgraphIndex=1, bodySubgraphIndex=2,
    )  # fmt: skip
    result = main.tensor("result", [1, 4])
    main.graph.operators[0].outputs.append(result)
    return main.write(path, result)


def sequence_lstm(path: Path, *, coupled: bool = False) -> Path:
    """Two sequences of 7 steps; `coupled`: the input gate is what the forget gate leaves."""
    graph = Graph()
    x = graph.input("x", [2, 7, 3])
    zero = np.zeros

    def gates(prefix: str, *shape: int) -> list[int]:
        made = [graph.constant(f"{prefix}{gate}", zero(shape, np.float32)) for gate in "ifco"]
        return [-1 if coupled else made[0], *made[1:]]

    inputs = [x, *gates("w", 5, 3), *gates("r", 5, 5), -1, -1, -1, *gates("b", 5), -1, -1]
    for name in ("output_state", "cell_state"):
        state = graph.tensor(name, [2, 5])
        graph.graph.tensors[state].isVariable = True
        inputs.append(state)
    out = graph.node(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [*inputs, -1, -1, -1, -1], "out", [2, 7, 5],
        "UnidirectionalSequenceLSTMOptions", fusedActivationFunction=ACTIVATIONS.TANH,
    )  # fmt: skip
    return graph.write(path, out)


def svdf(path: Path) -> Path:
    """8 filters of rank 1 over 6 inputs and the last 5 steps."""
    graph = Graph()
    x = graph.input("x", [1, 6])
    feature = graph.constant("feature", np.zeros((8, 6), np.float32))
    time = graph.constant("time", np.zeros((8, 5), np.float32))
    state = graph.tensor("state", [1, 40])
    graph.graph.tensors[state].isVariable = True
    out = graph.node("SVDF", [x, feature, time, -1, state], "out", [1, 8], "SVDFOptions", rank=1)
    return graph.write(path, out)
