"""What the traces of accelerators on a device mean: kernel drivers, bus ids, Android's properties.

That a driver is there says that there is such a processor; what runs on it, the support tables say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..targets.profile import Accelerator

Trace = Literal["nodes", "drivers", "buses", "remote_processors", "ro.hardware.egl"]


@dataclass(frozen=True)
class Known:
    """One accelerator and what shows it.

    Attributes:
        traces: any of these is enough.
        source: who documents the traces.
    """

    accelerator: Accelerator
    traces: tuple[tuple[Trace, str], ...]


def _known(
    id_: str,
    name: str,
    kind: Literal["gpu", "npu", "dsp", "tpu"],
    traces: Mapping[Trace, tuple[str, ...]],
    *,
    precisions: tuple[str, ...] = (),
    support: tuple[str, ...] = (),
    source: str,
) -> Known:
    accelerator = Accelerator.model_validate(
        {
            "id": id_,
            "name": name,
            "kind": kind,
            "precisions": precisions,
            "support": support,
            "source": source,
        }
    )
    return Known(accelerator, tuple((key, value) for key in traces for value in traces[key]))


_FLOATS = ("float32", "float16")

#: Every accelerator that is recognised.
KNOWN: tuple[Known, ...] = (
    _known(
        "edge-tpu", "Google Edge TPU", "tpu",
        {"nodes": ("apex_0",), "buses": ("1ac1:089a", "18d1:9302", "1a6e:089a")},
        precisions=("int8", "uint8"), support=("edge-tpu",),
        source="Coral documentation: the apex driver's device, and the ids on USB and PCIe",
    ),
    _known(
        "tpu", "Google Tensor TPU", "tpu", {"nodes": ("abrolhos", "janeiro")},
        support=("litert-nnapi", "onnxruntime-nnapi"),
        source="Android kernel sources, private/google-modules/edgetpu: the first two generations, "
        "which LiteRT's compiler for Google Tensor does not know",
    ),
    _known(
        "tpu", "Google Tensor TPU", "tpu", {"nodes": ("edgetpu", "edgetpu-soc", "rio")},
        support=("litert-google-tensor",),
        source="Android kernel sources, private/google-modules/edgetpu: names of its devices",
    ),
    _known(
        "npu", "Qualcomm Hexagon", "npu", {"nodes": ("adsprpc-smd", "fastrpc-cdsp")},
        support=("litert-qualcomm", "onnxruntime-qnn"),
        source="Linux, drivers/misc/fastrpc.c, and Qualcomm's downstream adsprpc driver",
    ),
    _known(
        "npu", "MediaTek APU", "npu", {"nodes": ("apusys",)}, support=("litert-neuropilot",),
        source="MediaTek's apusys driver in Android kernel sources",
    ),
    _known(
        "npu", "Rockchip NPU", "npu",
        {"nodes": ("rknpu",), "drivers": ("RKNPU", "rknpu", "rocket")}, support=("rknn",),
        source="Rockchip's rknpu driver; Linux, drivers/accel/rocket",
    ),
    _known(
        "npu", "VeriSilicon GPU or NPU (one driver for both)", "npu", {"nodes": ("galcore",)},
        support=("vx-delegate",),
        source="NXP i.MX Linux reference manual: galcore drives GPU and NPU",
    ),
    _known(
        "ethos-u", "Arm Ethos-U", "npu", {"nodes": ("ethosu0",)}, precisions=("int8", "int16"),
        source="Arm's Ethos-U Linux driver stack: /dev/ethosu0",
    ),
    _known(
        "npu", "Hailo", "npu", {"nodes": ("hailo0",)},
        source="Hailo's PCIe driver: /dev/hailo0",
    ),
    _known(
        "npu", "Intel NPU", "npu", {"drivers": ("intel_vpu",)},
        source="Linux, drivers/accel/ivpu",
    ),
    _known(
        "npu", "AMD XDNA NPU", "npu", {"drivers": ("amdxdna",)},
        source="Linux, drivers/accel/amdxdna",
    ),
    _known(
        "dsp", "TI C71x DSP with matrix accelerator", "dsp",
        {"remote_processors": ("64800000.dsp",)}, support=("tidl-tflite", "tidl-onnx"),
        source="Linux, k3-j721e-main.dtsi: the C71x DSP's remote processor",
    ),
    _known(
        "gpu", "Arm Mali GPU", "gpu",
        {
            "nodes": ("mali0",), "drivers": ("panfrost", "panthor", "lima"),
            "ro.hardware.egl": ("mali",),
        },
        precisions=_FLOATS, support=("litert-gpu",),
        source="Arm's kbase driver: /dev/mali0; Linux, drivers/gpu/drm; Android's OpenGL loader",
    ),
    _known(
        "gpu", "Qualcomm Adreno GPU", "gpu",
        {"nodes": ("kgsl-3d0",), "drivers": ("msm",), "ro.hardware.egl": ("adreno",)},
        precisions=_FLOATS, support=("litert-gpu",),
        source="Qualcomm's kgsl driver: /dev/kgsl-3d0; Linux, drivers/gpu/drm/msm; Android's "
        "OpenGL loader",
    ),
    _known(
        "gpu", "NVIDIA GPU", "gpu",
        {"nodes": ("nvidia0", "nvgpu", "nvhost-gpu"), "drivers": ("nvidia", "nouveau")},
        precisions=_FLOATS, support=("onnxruntime-tensorrt", "onnxruntime-cuda"),
        source="NVIDIA's drivers: /dev/nvidia0, on Jetson /dev/nvhost-gpu",
    ),
    _known(
        "gpu", "Broadcom VideoCore GPU", "gpu", {"drivers": ("v3d", "vc4", "vc4-drm")},
        source="Linux, drivers/gpu/drm/v3d and vc4",
    ),
    _known(
        "gpu", "Vivante GPU", "gpu", {"drivers": ("etnaviv",)},
        source="Linux, drivers/gpu/drm/etnaviv",
    ),
    _known(
        "gpu", "Imagination PowerVR GPU", "gpu",
        {"drivers": ("pvrsrvkm", "powervr"), "ro.hardware.egl": ("powervr",)},
        source="Linux, drivers/gpu/drm/imagination; Imagination's pvrsrvkm; Android's OpenGL "
        "loader",
    ),
    _known(
        "gpu", "Intel GPU", "gpu", {"drivers": ("i915", "xe")}, precisions=_FLOATS,
        source="Linux, drivers/gpu/drm",
    ),
    _known(
        "gpu", "AMD GPU", "gpu", {"drivers": ("amdgpu", "radeon")}, precisions=_FLOATS,
        source="Linux, drivers/gpu/drm",
    ),
)  # fmt: skip


def chip(traces: Mapping[str, Any]) -> str | None:
    """The chip as Android names it (android.os.Build.SOC_MANUFACTURER and SOC_MODEL)."""
    model = traces.get("ro.soc.model")
    return f"{traces.get('ro.soc.manufacturer') or ''} {model}".strip() if model else None


def _values(told: Any) -> tuple[str, ...]:
    return (told,) if isinstance(told, str) else tuple(told or ())


def seen(traces: Mapping[str, Any]) -> tuple[Accelerator, ...]:
    """The accelerators that an agent's traces show; ids are made unique ('gpu', 'gpu-2').

    Args:
        traces: what `profiler/agent/accelerators.py` answers.
    """
    found: list[Accelerator] = []
    times: Counter[str] = Counter()
    for known in KNOWN:
        there = [value for key, value in known.traces if value in _values(traces.get(key))]
        if there:
            name = known.accelerator.id
            times[name] += 1
            found.append(
                known.accelerator.model_copy(
                    update={
                        "id": name if times[name] == 1 else f"{name}-{times[name]}",
                        "source": f"probed: {', '.join(there)} ({known.accelerator.source})",
                    }
                )
            )
    return tuple(found)
