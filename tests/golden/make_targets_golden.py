"""Makes the targets_*.tflite files beside it. Needs the extra 'tensorflow'; run by hand.

python tests/golden/make_targets_golden.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    import tensorflow as tf

    tf.random.set_seed(7)
    images = [np.random.default_rng(i).random((1, 8, 8, 3), np.float32) for i in range(4)]
    net = convnet(tf)

    def representative() -> Any:
        for image in images:
            yield [image]

    def full_int8(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8

    def wide(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]

    def dynamic_range(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def float16(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    def select(converter: Any) -> None:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]

    def custom(converter: Any) -> None:
        converter.allow_custom_ops = True

    write(tf, "conv_float", net, [1, 8, 8, 3])
    write(tf, "conv_int8", net, [1, 8, 8, 3], full_int8)
    write(tf, "conv_int16", net, [1, 8, 8, 3], wide)
    write(tf, "conv_float16", net, [1, 8, 8, 3], float16)
    write(tf, "conv_batch", net, [None, 8, 8, 3])
    write(tf, "conv_open", net_of_any_size(tf), [1, None, None, 3])
    write(tf, "dense_dynamic", dense(tf), [1, 64], dynamic_range)
    write(tf, "flex", lambda x: {"y": tf.linalg.det(tf.reshape(x, [4, 4]))}, [1, 16], select)
    write(tf, "custom", lambda x: {"y": tf.math.betainc(x, x, x)}, [1, 16], custom)
    write(tf, "branch", branch(tf), [1, 4])


def convnet(tf: Any) -> Callable[..., Any]:
    """A convolution, a depthwise convolution, a transposed one and a matrix product."""
    first = tf.constant(tf.random.normal([3, 3, 3, 8]))
    depth = tf.constant(tf.random.normal([3, 3, 8, 1]))
    back = tf.constant(tf.random.normal([2, 2, 4, 8]))
    last = tf.constant(tf.random.normal([4, 5]))

    def net(image: Any) -> dict[str, Any]:
        x = tf.nn.relu(tf.nn.conv2d(image, first, 2, "SAME"))
        x = tf.nn.depthwise_conv2d(x, depth, [1, 1, 1, 1], "SAME")
        x = tf.nn.conv2d_transpose(x, back, [1, 8, 8, 4], 2, "SAME") if image.shape[0] else x
        x = tf.reduce_mean(x, [1, 2])
        return {"scores": tf.matmul(x, last if image.shape[0] else tf.tile(last, [2, 1]))}

    return net


def net_of_any_size(tf: Any) -> Callable[..., Any]:
    kernel = tf.constant(tf.random.normal([3, 3, 3, 8]))
    return lambda image: {"features": tf.nn.conv2d(image, kernel, 1, "SAME")}


def dense(tf: Any) -> Callable[..., Any]:
    weights = tf.constant(tf.random.normal([64, 64]))
    return lambda x: {"y": tf.matmul(x, weights)}


def branch(tf: Any) -> Callable[..., Any]:
    """A matrix product in one branch, an addition in the other: three graphs."""
    weights = tf.constant(tf.random.normal([4, 4]))
    return lambda x: {
        "y": tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, weights), lambda: x + 1)
    }


def write(
    tf: Any,
    name: str,
    function: Callable[..., Any],
    shape: list[int | None],
    configure: Callable[[Any], None] = lambda converter: None,
) -> None:
    """Converts a function of one float input through a SavedModel, so that it has a signature."""
    import tempfile

    module = tf.Module()
    module.call = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.call.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        configure(converter)
        (HERE / f"targets_{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
