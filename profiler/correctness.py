"""Whether a device gives the answers the host gives.

The rule, for each output over all reference inputs:

- NaN or Inf on the device fails, even where the host gives the same: such an answer is of no use,
  and equal ones would say nothing of the kernels.
- A float model has to agree with itself on the host: largest error at most 0.1% of the output's
  largest value (2% for float16), room for another order of summation but not for a wrong kernel.
- A quantized model rounds, and kernels of two CPUs may round differently (ONNX Runtime on x86
  without VNNI even saturates), so it need not be equal to itself on the host. It passes if it is
  (30 dB or better), or if it is as near to the float model as on the host: at most 3 dB less, which
  is twice the noise. What was evaluated on the host then holds on the device.
- Where one of the references is missing, the other decides: 15 dB to itself, 5 dB to float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..exporters.artifact import Array
from .job import MeasuredModel
from .result import Correctness, OutputCheck
from .top1 import Top1, compare_top1

Reference = Literal["self", "float"]

MAX_ERROR = {"float32": 1e-3, "float16": 2e-2}
SAME_DB = 30.0
MAX_LOSS_DB = 3.0
MIN_SELF_DB = 15.0
MIN_FLOAT_DB = 5.0


@dataclass(frozen=True)
class Difference:
    """How far answers are from a reference.

    Attributes:
        max_abs_error: None where one of them has NaN or Inf.
        sqnr_db: 10 log10(sum(x^2) / sum((x - y)^2)); infinite where there is no difference, None
            where there is no number.
        cosine: None where one of them is zero throughout, or there is no number.
        peak: the reference's largest absolute value.
    """

    max_abs_error: float | None
    sqnr_db: float | None
    cosine: float | None
    peak: float


def difference(actual: Array, reference: Array) -> Difference:
    """Compares arrays of one shape as real numbers."""
    x, y = _reals(reference), _reals(actual)
    peak = float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))
    if not (_is_finite(x) and _is_finite(y)):
        return Difference(None, None, None, peak)
    noise, signal = float(np.sum((x - y) ** 2)), float(np.sum(x**2))
    if noise == 0:
        sqnr = float("inf")
    else:
        # The difference of logarithms: the quotient itself may leave the range of numbers.
        sqnr = 10 * float(np.log10(signal) - np.log10(noise)) if signal else float("-inf")
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return Difference(
        max_abs_error=float(np.max(np.abs(x - y), initial=0.0)),
        sqnr_db=sqnr,
        cosine=min(1.0, max(-1.0, float(x @ y) / norms)) if norms else None,
        peak=peak,
    )


def check_answers(
    model: MeasuredModel, device_outputs: Sequence[Sequence[Array]] | None
) -> Correctness:
    """Judges a device's raw outputs for the model's reference inputs by the rule above.

    Args:
        device_outputs: for each reference input, the outputs in the file's order; None where the
            device gave none.
    """
    if device_outputs is None:
        return Correctness(status="not-checked", reason="the device returned no outputs")
    count = len(device_outputs)
    device = _comparable(model, device_outputs)
    broken = [
        index
        for index in range(len(model.outputs))
        if not all(_is_finite(sample[index]) for sample in device)
    ]
    if not model.host_outputs and not model.float_outputs:
        return Correctness(
            status="failed" if broken else "not-checked",
            inputs=count,
            reason="; ".join(_broken(model.outputs[index].name) for index in broken)
            or "there is no reference to compare with",
        )
    host = _comparable(model, model.host_outputs) if model.host_outputs else None
    original = model.float_outputs or None
    checks: list[OutputCheck] = []
    verdicts: list[_Verdict] = []
    for index, port in enumerate(model.outputs):
        pieces = [_column(outputs, index) for outputs in (device, host, original)]
        problem = _shape_problem(pieces)
        if problem:
            verdicts.append(_Verdict(False, "self", f"{port.name}: {problem}"))
            continue
        own, at_host, of_float = (_joined(piece) for piece in pieces)
        assert own is not None
        to_self = None if at_host is None else difference(own, at_host)
        to_float = None if of_float is None else difference(own, of_float)
        allowance = (
            None if at_host is None or of_float is None else difference(at_host, of_float).sqnr_db
        )
        compared: tuple[tuple[Reference, Difference | None, list[Array] | None], ...] = (
            ("self", to_self, pieces[1]),
            ("float", to_float, pieces[2]),
        )
        for against, found, piece in compared:
            if found is not None and piece is not None and pieces[0] is not None:
                checks.append(_check(port.name, against, found, compare_top1(pieces[0], piece)))
        if index in broken:
            reference: Reference = "float" if to_self is None else "self"
            verdicts.append(_Verdict(False, reference, _broken(port.name)))
        else:
            verdicts.append(_judge(port.name, model.precision, to_self, to_float, allowance))
    failed = [verdict for verdict in verdicts if not verdict.passed]
    deciding = (failed or verdicts)[0]
    return Correctness(
        status="failed" if failed else "passed",
        against=deciding.against,
        inputs=count,
        outputs=tuple(checks),
        reason="; ".join(verdict.reason for verdict in failed or verdicts),
    )


@dataclass(frozen=True)
class _Verdict:
    passed: bool
    against: Reference
    reason: str


def _judge(
    name: str,
    precision: str,
    to_self: Difference | None,
    to_float: Difference | None,
    host_to_float_db: float | None,
) -> _Verdict:
    references: tuple[tuple[Reference, Difference | None], ...] = (
        ("self", to_self),
        ("float", to_float),
    )
    for reference, found in references:
        if found is not None and found.max_abs_error is None:
            return _Verdict(
                False, reference, f"{name}: NaN or Inf on the host where the device has numbers"
            )
    if precision in MAX_ERROR:
        found, against = (to_self, "self") if to_self is not None else (to_float, "float")
        assert found is not None and found.max_abs_error is not None
        allowed = MAX_ERROR[precision] * found.peak
        return _Verdict(
            found.max_abs_error <= allowed,
            "self" if against == "self" else "float",
            f"{name}: largest error {found.max_abs_error:.3g}, allowed {allowed:.3g}",
        )
    if to_self is not None and to_self.max_abs_error == 0:
        return _Verdict(True, "self", f"{name}: the same numbers as on the host")
    if to_self is not None and to_self.sqnr_db is not None:
        enough = SAME_DB if host_to_float_db is not None else MIN_SELF_DB
        if to_self.sqnr_db >= enough or host_to_float_db is None:
            return _Verdict(
                to_self.sqnr_db >= enough,
                "self",
                f"{name}: {to_self.sqnr_db:.1f} dB to the same model on the host, "
                f"{enough:g} dB wanted",
            )
    assert to_float is not None and to_float.sqnr_db is not None
    if host_to_float_db is None:
        return _Verdict(
            to_float.sqnr_db >= MIN_FLOAT_DB,
            "float",
            f"{name}: {to_float.sqnr_db:.1f} dB to the float model, {MIN_FLOAT_DB:g} dB wanted",
        )
    return _Verdict(
        to_float.sqnr_db >= host_to_float_db - MAX_LOSS_DB,
        "float",
        f"{name}: {to_float.sqnr_db:.1f} dB to the float model where the host has "
        f"{host_to_float_db:.1f} dB, {MAX_LOSS_DB:g} dB less allowed",
    )


def _comparable(
    model: MeasuredModel, outputs: Sequence[Sequence[Array]]
) -> Sequence[Sequence[Array]]:
    return [
        [port.to_comparable(array) for port, array in zip(model.outputs, sample, strict=True)]
        for sample in outputs
    ]


def _column(outputs: Sequence[Sequence[Array]] | None, index: int) -> list[Array] | None:
    return None if outputs is None else [sample[index] for sample in outputs]


def _is_finite(array: Array) -> bool:
    return bool(np.isfinite(_reals(array)).all())


def _reals(array: Array) -> npt.NDArray[np.float64]:
    """The numbers in a row; of complex ones both parts."""
    if np.iscomplexobj(array):
        return array.astype(np.complex128).ravel().view(np.float64)
    return array.astype(np.float64).ravel()


def _broken(name: str) -> str:
    return f"{name}: the device gives NaN or Inf"


def _shape_problem(pieces: Sequence[list[Array] | None]) -> str | None:
    shapes = [[array.shape for array in piece] for piece in pieces if piece is not None]
    if any(other != shapes[0] for other in shapes[1:]):
        return f"shapes {shapes[0]} on the device, {shapes[1]} in the reference"
    return None


def _joined(piece: list[Array] | None) -> npt.NDArray[np.float64] | None:
    if piece is None:
        return None
    return np.concatenate([_reals(array) for array in piece])


def _check(name: str, against: Reference, found: Difference, top1: Top1 | None) -> OutputCheck:
    finite = found.sqnr_db is not None and np.isfinite(found.sqnr_db)
    return OutputCheck(
        output=name,
        against=against,
        max_abs_error=found.max_abs_error,
        sqnr_db=found.sqnr_db if finite else None,
        cosine=found.cosine,
        top1_agreement=top1.agreement if top1 else None,
        top1_differences=top1.differences if top1 else (),
    )
