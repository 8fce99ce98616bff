"""The one place that decides which ONNX operator set a model for a device may have."""

from __future__ import annotations

from .check_options import CheckOptions, chosen_accelerator, with_runtime
from .profile import TargetProfile
from .support_files import tables_for
from .versions import MAX_OPSET, newest_at


def max_opset(profile: TargetProfile, options: CheckOptions | None = None) -> int | None:
    """The newest operator set that `check` accepts for a device; None where nothing limits it.

    That is what its ONNX Runtime knows, and the table of the accelerator that is promised or
    asked for.

    Raises:
        UsageError: the device has no runtime or accelerator of the name in the options.
    """
    options = options or CheckOptions()
    runtime = with_runtime(profile, options.runtime).runtime_for("onnx")
    accelerator = chosen_accelerator(profile, options.accelerator)
    if runtime is None:
        return None
    limits = [newest_at(MAX_OPSET, runtime.min_version)]
    if accelerator is not None:
        tables = tables_for(accelerator.support, "onnx", runtime.name)
        limits += [table.max_opset for table in tables[:1]]
    return min((limit for limit in limits if limit is not None), default=None)
