"""Which of a device's runtimes and accelerators a model is checked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ..errors import UsageError
from .profile import Accelerator, TargetProfile


@dataclass(frozen=True)
class CheckOptions:
    """What a model is checked for.

    Attributes:
        runtime: one of the device's; None: the first that reads the model's format.
        accelerator: one of the device's, or 'none' for the CPU alone; None: the one that the
            profile promises, if any.
        allow_fallback: share of the multiply-accumulates, 0 to 1, that may stay on the CPU; None:
            no operator may.
        ask: whether runtimes and compilers on this machine are asked, where they can say.
        ask_cpu: whether the runtimes are asked about the CPU too: ONNX Runtime which nodes it has
            kernels for, which decides where this machine has the device's release; LiteRT what its
            delegate XNNPACK takes, which decides nothing.
    """

    runtime: str | None = None
    accelerator: str | None = None
    allow_fallback: float | None = None
    ask: bool = True
    ask_cpu: bool = False


def with_runtime(profile: TargetProfile, name: str | None) -> TargetProfile:
    """The device with just this runtime, so that every rule is about it; None: as it is.

    Raises:
        UsageError: it has no such runtime.
    """
    if name is None:
        return profile
    for runtime in profile.runtimes:
        if runtime.name == name:
            return profile.model_copy(update={"runtimes": (runtime,)})
    raise _unknown("runtime", name, [runtime.name for runtime in profile.runtimes], profile)


def chosen_accelerator(profile: TargetProfile, name: str | None) -> Accelerator | None:
    """The accelerator that models are to run on: by name, or the one that the profile promises.

    Args:
        name: 'none' for the CPU alone; None leaves it to the profile.

    Raises:
        UsageError: it has no such accelerator.
    """
    wanted = profile.default_accelerator if name is None else name
    if wanted in (None, "none"):
        return None
    for accelerator in profile.accelerators:
        if accelerator.id == wanted:
            return accelerator
    names = [accelerator.id for accelerator in profile.accelerators]
    raise _unknown("accelerator", str(wanted), [*names, "none"], profile)


def _unknown(what: str, name: str, names: list[str], profile: TargetProfile) -> UsageError:
    # 'litert' is a part of 'ai_edge_litert', and has more letters of 'tflite_runtime'.
    near = [known for known in names if name and name.lower() in known]
    near = near or difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return UsageError(
        f"{profile.name} has no {what} '{name}'; there {'is' if len(names) == 1 else 'are'} "
        + ", ".join(names),
        hint=f"did you mean '{near[0]}'?" if near else None,
    )
