"""What saturating sums cost a model on the user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ..evaluate import answers
from ..export import OnProgress
from ..float_model import describe_file
from ..metrics import METRICS, decibel, powers
from ..request import DataOptions
from .emulator import SaturationEmulator

#: As many samples as are looked at; more change the figures little and take seconds each.
MAX_SAMPLES = 100


@dataclass(frozen=True)
class SaturationDrop:
    """The answers with saturation beside those without, on the same samples.

    Attributes:
        products: how many convolutions and matrix products can saturate.
        samples: how many samples were looked at.
        data: the user's words for them.
        agreement: share of the samples (of a sequence: positions) with the same first class.
        sqnr_db: of all outputs, against those without saturation; None where they are equal.
        top1: with the data's labels, without and with saturation; None without class labels.
    """

    products: int
    samples: int
    data: str
    agreement: float
    sqnr_db: float | None
    top1: tuple[float, float] | None

    def describe(self) -> str:
        """In one line."""
        if not self.products:
            return "no product of the model multiplies uint8 activations with int8 weights"
        told = f"emulated on {self.samples} samples of {self.data}: "
        if self.sqnr_db is None:
            return told + "no sum saturates enough to change an output"
        told += f"the same first class for {self.agreement:.1%}, SQNR {self.sqnr_db:.1f} dB"
        if self.top1 is not None:
            told += f", top-1 {self.top1[0]:.1%} becomes {self.top1[1]:.1%}"
        return told


def saturation_drop(path: Path, data: DataOptions, on_progress: OnProgress) -> SaturationDrop:
    """Emulates a quantized ONNX model as an x86 without VNNI runs it, on the calibration data.

    Args:
        data: its `calibration` names the samples.
        on_progress: as `export` calls it.

    Raises:
        UsageError: the model is no ONNX model, or the data do not fit it.
    """
    artifact = describe_file(path)
    if artifact.format != "onnx":
        raise UsageError(
            f"{path} is a TFLite model: its runtimes multiply without saturation",
            hint="leave --calibration out",
        )
    dataset = data.open(data.calibration, artifact.inputs)
    if dataset is None:
        raise UsageError("saturation is emulated on data, and there are none")
    emulator = SaturationEmulator(path)
    if not emulator.products:
        return SaturationDrop(0, 0, dataset.description, 1.0, None, None)
    head = dataset.head(MAX_SAMPLES)
    same: list[float] = []
    labelled: list[tuple[float, float]] = []
    signal = noise = 0.0
    for index, sample in enumerate(head):
        native = [port.to_artifact(sample.inputs[port.source_name]) for port in artifact.inputs]
        exact, given = (
            [port.to_source(array) for port, array in zip(artifact.outputs, outputs, strict=True)]
            for outputs in (
                answers(lambda n: emulator.run(n, saturating=False), native, index),
                answers(lambda n: emulator.run(n, saturating=True), native, index),
            )
        )
        same.append(METRICS["agreement"].score(given, exact, None))
        if sample.label is not None and _is_class(sample.label):
            top1 = METRICS["top1"].score
            labelled.append((top1(exact, exact, sample.label), top1(given, exact, sample.label)))
        for x, y in zip(exact, given, strict=True):
            powers_here = powers(x, y)
            signal, noise = signal + powers_here[0], noise + powers_here[1]
        on_progress("emulating saturation", index + 1, len(head))
    return SaturationDrop(
        products=emulator.products,
        samples=len(same),
        data=dataset.description,
        agreement=float(np.mean(same)),
        sqnr_db=decibel(signal, noise),
        top1=(float(np.mean([x for x, _ in labelled])), float(np.mean([y for _, y in labelled])))
        if len(labelled) == len(same)
        else None,
    )


def _is_class(label: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    return label.size == 1 and label.dtype.kind in "iu"
