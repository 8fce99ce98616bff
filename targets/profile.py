"""What a device can do, as data: the schema of `device_configs/*.toml`."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .formats import Format as Format

#: The runtimes that Edgewright measures with.
RuntimeName = Literal["onnxruntime", "ai_edge_litert", "tflite_runtime"]
#: The runtimes that a device can have; TFLite Micro is checked against, and not measured.
TargetRuntimeName = Literal["onnxruntime", "ai_edge_litert", "tflite_runtime", "tflite_micro"]
Architecture = Literal["x86_64", "aarch64", "armv7l", "armv8-m", "armv8.1-m"]

#: Instruction-set features that decide which precision is fast, named as Linux names them
#: (`Features`/`flags` of /proc/cpuinfo), with "asimdhp" -> fp16, "asimddp" -> dotprod.
Feature = Literal[
    # ARM
    "neon",
    "asimd",
    "fp16",
    "dotprod",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
    # ARM microcontrollers: DSP extension, and Helium
    "dsp",
    "mve",
    # x86
    "sse4_1",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_fp16",
    "amx_int8",
]


def known_architecture(name: str | None) -> Architecture | None:
    """An architecture by its name; None for others."""
    return next((known for known in get_args(Architecture) if known == name), None)


class Model(BaseModel):
    """Base of every value that is read from or written to a file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


#: No core that runs models is slower: what is below was written in MHz or kHz.
LEAST_HZ = 1_000_000


class CoreCluster(Model):
    """Cores of one kind."""

    core: str = Field(description="microarchitecture, e.g. 'Cortex-A76'")
    count: int = Field(ge=1)
    max_frequency_hz: int | None = Field(
        default=None, json_schema_extra={"minimum": LEAST_HZ}, description="2400 MHz: 2400000000"
    )
    features: tuple[Feature, ...] = ()

    @field_validator("max_frequency_hz")
    @classmethod
    def _is_in_hertz(cls, value: int | None) -> int | None:
        if value is not None and value < LEAST_HZ:
            raise ValueError(f"a clock in Hz is wanted, at least {LEAST_HZ} (1 MHz)")
        return value


class Cpu(Model):
    """The CPU; clusters from fastest to slowest."""

    soc: str
    architecture: Architecture
    clusters: tuple[CoreCluster, ...] = Field(min_length=1)
    source: str = Field(min_length=1, description="where the facts of this group come from")

    @property
    def features(self) -> frozenset[str]:
        """Features that every cluster has: what code can rely on wherever it is scheduled."""
        common = set(self.clusters[0].features)
        for cluster in self.clusters[1:]:
            common &= set(cluster.features)
        return frozenset(common)

    @property
    def core_count(self) -> int:
        return sum(cluster.count for cluster in self.clusters)


class Memory(Model):
    ram_bytes: int = Field(gt=0, description="of a microcontroller: all of its SRAM")
    flash_bytes: int | None = Field(
        default=None, gt=0, description="non-volatile memory that programs and models share"
    )
    bandwidth_bytes_per_s: int | None = Field(
        default=None, gt=0, description="theoretical peak of the memory interface"
    )
    source: str = Field(min_length=1)


class OperatingSystem(Model):
    name: Literal["linux", "android", "macos", "windows", "none"]
    version: str = Field(description="distribution or Android release, e.g. 'Raspberry Pi OS 12'")
    python: str | None = Field(
        default=None, description="version of the system's Python 3; absent where there is none"
    )
    libc: str | None = Field(default=None, description="C library and version, e.g. 'glibc 2.36'")
    source: str = Field(min_length=1)


class Runtime(Model):
    """An inference runtime that can be had for the device."""

    name: TargetRuntimeName
    min_version: str = Field(description="the oldest version that the checks assume")
    source: str = Field(min_length=1)


class Accelerator(Model):
    """A processor beside the CPU. What it can run is data of its own: `targets/support/`."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="its name for --accelerator")
    name: str
    kind: Literal["gpu", "npu", "dsp", "tpu"]
    precisions: tuple[
        Literal["float32", "float16", "bfloat16", "int16", "int8", "uint8", "int4"], ...
    ]
    support: tuple[str, ...] = Field(
        default=(),
        description="support tables of the delegates, execution providers and compilers that "
        "reach it, the usual one first",
    )
    compiler_options: dict[str, str] = Field(
        default_factory=dict, description="what its compiler has to be told of this device"
    )
    weight_cache_bytes: int | None = Field(
        default=None,
        gt=0,
        description="weights that it keeps on the chip from one inference to the next, where it "
        "fetches those beyond each time; compiled code takes of it, too. None: it has no such "
        "limit, or nobody says",
    )
    source: str = Field(min_length=1)


class Sensors(Model):
    """What tells of heat on the device."""

    thermal_zones: tuple[str, ...] = Field(description="types of the kernel's thermal zones")
    source: str = Field(min_length=1)


class Limits(Model):
    """What a model may use on this device."""

    max_model_bytes: int | None = Field(default=None, gt=0)
    max_memory_bytes: int | None = Field(
        default=None, gt=0, description="peak memory that a model's process may use"
    )
    source: str = Field(min_length=1)


class TargetProfile(Model):
    """One device. A group of facts carries the source of its figures.

    `probed = true` marks a profile whose hardware is read from the machine at hand
    (`targets/probe.py`) and not from the file.
    """

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    probed: bool = False
    cpu: Cpu
    memory: Memory
    os: OperatingSystem
    runtimes: tuple[Runtime, ...] = Field(min_length=1)
    accelerators: tuple[Accelerator, ...] = ()
    default_accelerator: str | None = Field(
        default=None,
        description="the accelerator that models for this device are expected to run on: what "
        "falls back to the CPU is an error. None: the CPU",
    )
    sensors: Sensors | None = None
    limits: Limits | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _runtimes_are_distinct(self) -> TargetProfile:
        names = [runtime.name for runtime in self.runtimes]
        if len(set(names)) != len(names):
            raise ValueError(f"a runtime is listed twice: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _accelerators_are_consistent(self) -> TargetProfile:
        ids = [accelerator.id for accelerator in self.accelerators]
        if len(set(ids)) != len(ids):
            raise ValueError(f"an accelerator is listed twice: {', '.join(ids)}")
        if self.default_accelerator is not None and self.default_accelerator not in ids:
            raise ValueError(
                f"default_accelerator is '{self.default_accelerator}', which is none of the "
                f"accelerators ({', '.join(ids) or 'there is none'})"
            )
        return self

    @property
    def measured_runtimes(self) -> tuple[RuntimeName, ...]:
        """The runtimes that Edgewright can measure with, in the profile's order."""
        known = {str(name): name for name in get_args(RuntimeName)}
        return tuple(known[r.name] for r in self.runtimes if r.name in known)

    @model_validator(mode="after")
    def _groups_agree(self) -> TargetProfile:
        for cluster in self.cpu.clusters:
            if foreign := sorted(set(cluster.features) - FEATURES[self.cpu.architecture]):
                raise ValueError(
                    f"cpu.clusters: {cluster.core} has {', '.join(foreign)}, which no "
                    f"{self.cpu.architecture} has"
                )
        if self.limits is not None:
            limits, memory = self.limits, self.memory
            if limits.max_memory_bytes is not None and limits.max_memory_bytes > memory.ram_bytes:
                raise ValueError(
                    f"limits.max_memory_bytes ({limits.max_memory_bytes}) is more than "
                    f"memory.ram_bytes ({memory.ram_bytes})"
                )
        bare = self.os.name == "none"
        if bare and self.os.python is not None:
            raise ValueError("os.python is given, but os.name is 'none': there is no Python")
        if bare and (hosted := self.measured_runtimes):
            raise ValueError(f"{hosted[0]} needs an operating system, but os.name is 'none'")
        return self

    def runtime_for(self, model_format: str) -> Runtime | None:
        """The preferred runtime for a format: the first listed that reads it."""
        return next((r for r in self.runtimes if READS[r.name] == model_format), None)


_ARM = {"neon", "asimd", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme"}
_MICROCONTROLLER = {"dsp", "mve", "fp16"}

#: Which features processors of an architecture can have.
FEATURES: dict[Architecture, frozenset[str]] = {
    "x86_64": frozenset(get_args(Feature)) - _ARM - _MICROCONTROLLER,
    "aarch64": frozenset(_ARM),
    "armv7l": frozenset(_ARM - {"asimd", "sve", "sve2", "sme"}),
    "armv8-m": frozenset(_MICROCONTROLLER),
    "armv8.1-m": frozenset(_MICROCONTROLLER),
}

#: Which format each runtime reads.
READS: dict[TargetRuntimeName, Format] = {
    "onnxruntime": "onnx",
    "ai_edge_litert": "tflite",
    "tflite_runtime": "tflite",
    "tflite_micro": "tflite",
}

#: Which of the runtimes that are measured with read which format.
READERS: dict[str, tuple[RuntimeName, ...]] = {
    model_format: tuple(name for name in get_args(RuntimeName) if READS[name] == model_format)
    for model_format in get_args(Format)
}
