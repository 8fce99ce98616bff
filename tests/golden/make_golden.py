"""Makes the golden TFLite models of this folder, once, with TensorFlow (2.21 made these).

    python tests/golden/make_golden.py

tiny_float.tflite: 1x8x8x3 float32 -> convolution (4 channels) -> ReLU -> mean -> dense -> 1x5.
tiny_int8.tflite: the same, full INT8 per channel, int8 in and out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent


def main() -> None:
    generator = np.random.default_rng(7)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((8, 8, 3), batch_size=1),
            tf.keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(5),
        ]
    )
    model.set_weights(
        [generator.normal(0, 0.3, weight.shape).astype(np.float32) for weight in model.weights]
    )

    def samples() -> Iterator[list[np.ndarray]]:
        for _ in range(32):
            yield [generator.normal(size=(1, 8, 8, 3)).astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (HERE / "tiny_float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (HERE / "tiny_int8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
