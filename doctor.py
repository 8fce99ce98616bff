"""What this machine can do, and what is missing for the rest."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .errors import UsageError
from .profiler.device_runtime.cache import list_kept
from .profiler.devices_file import read_devices
from .profiler.devices_path import devices_path
from .targets.load import load_target


@dataclass(frozen=True)
class DoctorFinding:
    """One thing that was looked at.

    Attributes:
        status: 'ok', 'missing' (something optional is not there) or 'broken'.
        remedy: what to do; empty where nothing is to be done.
    """

    name: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


_CORE = {
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert",
    "litert-quantizer": "litert_quantizer",
    "paramiko": "paramiko",
    "adbutils": "adbutils",
    "scipy": "scipy",
}
_EXTRAS = {
    "torch": ("torch", "torch", "PyTorch sources"),
    "litert-torch": ("litert_torch", "torch", "PyTorch -> TFLite"),
    "onnxscript": ("onnxscript", "torch", "PyTorch -> ONNX"),
    "tensorflow": ("tensorflow", "tensorflow", "Keras and SavedModel sources"),
}


def examine() -> list[DoctorFinding]:
    """Looks at Python, packages, this machine's CPU, SSH, ADB and what is kept for devices.

    Nothing heavy is imported, and no device is asked.
    """
    findings = [_python()]
    findings += [_package(name, module) for name, module in _CORE.items()]
    for name, (module, extra, purpose) in _EXTRAS.items():
        findings.append(_extra(name, module, extra, purpose))
    return [*findings, _cpu(), *_ssh(), _adb(), _devices(), _device_runtimes()]


def doctor_table(findings: list[DoctorFinding]) -> RenderableType:
    """The findings for people."""
    styles = {"ok": "green", "missing": "yellow", "broken": "red"}
    table = Table(header_style="bold")
    for title in ("what", "status", "detail", "remedy"):
        table.add_column(title, overflow="fold")
    for f in findings:
        table.add_row(f.name, Text(f.status, style=styles[f.status]), f.detail, f.remedy)
    return table


def _python() -> DoctorFinding:
    version = ".".join(map(str, sys.version_info[:3]))
    return DoctorFinding("Python", "ok", f"{version} at {sys.executable}")


def _package(name: str, module: str) -> DoctorFinding:
    if util.find_spec(module) is None:
        return DoctorFinding(name, "broken", "not installed", f"pip install {name}")
    return DoctorFinding(name, "ok", _version(name))


def _extra(name: str, module: str, extra: str, purpose: str) -> DoctorFinding:
    if util.find_spec(module) is None:
        remedy = f"pip install 'edgewright[{extra}]'"
        return DoctorFinding(name, "missing", f"needed for {purpose}", remedy)
    return DoctorFinding(name, "ok", _version(name))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "version unknown"


def _cpu() -> DoctorFinding:
    host = load_target("host")
    features = " ".join(sorted(host.cpu.features)) or "no features read"
    return DoctorFinding("CPU", "ok", f"{host.cpu.clusters[0].core}: {features}")


def _ssh() -> list[DoctorFinding]:
    known_hosts = Path.home() / ".ssh" / "known_hosts"
    findings = []
    if not known_hosts.is_file():
        findings.append(
            DoctorFinding(
                "known_hosts",
                "missing",
                f"{known_hosts} is needed to reach devices over SSH",
                "edgewright devices trust ssh://user@host, or connect once with ssh",
            )
        )
    else:
        findings.append(DoctorFinding("known_hosts", "ok", str(known_hosts)))
    if shutil.which("ssh-keygen") is None:
        findings.append(
            DoctorFinding("ssh-keygen", "missing", "makes keys for devices", "install OpenSSH")
        )
    return findings


def _adb() -> DoctorFinding:
    from adbutils import AdbError, adb_path

    try:
        return DoctorFinding("adb", "ok", str(adb_path()))
    except AdbError:
        return DoctorFinding(
            "adb",
            "missing",
            "needed to reach phones",
            "install Android's platform tools (on Debian: sudo apt install adb)",
        )


def _devices() -> DoctorFinding:
    try:
        names = list(read_devices())
    except UsageError as error:
        return DoctorFinding("devices", "broken", error.message, error.hint or "")
    if not names:
        return DoctorFinding(
            "devices",
            "missing",
            f"no device in {devices_path()}",
            "edgewright devices add NAME ssh://user@host, or adb://SERIAL",
        )
    return DoctorFinding("devices", "ok", f"{', '.join(names)} in {devices_path()}")


def _device_runtimes() -> DoctorFinding:
    kept = [each.bundle for each in list_kept()]
    if not kept:
        return DoctorFinding(
            "device runtimes",
            "missing",
            "none built; phones, and boards without Python, need one",
            "edgewright runtime build --target TARGET",
        )
    told = ", ".join(f"{b.runtime} {b.runtime_version} for {b.architecture}" for b in kept)
    return DoctorFinding("device runtimes", "ok", told)
