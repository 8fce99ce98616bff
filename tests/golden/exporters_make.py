"""Makes exporters_float.tflite of this folder, once, with TensorFlow (2.21 made it).

    python tests/golden/exporters_make.py

1x6x6x3 float32 -> convolution (4 channels) -> ReLU -> flatten -> dense 32 -> ReLU -> dense 6.
Both dense layers have inputs that blocks of 32 weights divide.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent


def main() -> None:
    generator = np.random.default_rng(11)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((6, 6, 3), batch_size=1),
            tf.keras.layers.Conv2D(4, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(32, activation="relu"),
            tf.keras.layers.Dense(6),
        ]
    )
    model.set_weights(
        [generator.normal(0, 0.3, weight.shape).astype(np.float32) for weight in model.weights]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (HERE / "exporters_float.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main()
