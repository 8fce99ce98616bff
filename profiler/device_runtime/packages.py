"""Debian packages of another architecture: fetched as any user, read without installing them.

apt works in a directory of its own, with the host's sources, proxies and keys, so what it fetches
is as trusted as what it installs here, and nothing of the host's changes.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from .recipe import Platform

_NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9.+-]+)_(?P<version>[^_]+)_(?P<architecture>[a-z0-9]+)")
_OTHER_WAYS = (
    "--mirror 'URL SUITE' names a mirror that has them, e.g. of Debian; --packages DIR takes .deb "
    "files from a directory"
)
TIMEOUT_S = 900.0


@dataclass(frozen=True)
class PackageSource:
    """Where Debian packages come from; without either, the host's own apt sources.

    Attributes:
        mirror: a line of apt's sources after `deb`: URL, suite and, where not `main`, components.
        directory: .deb files.
    """

    mirror: str | None = None
    directory: Path | None = None


@dataclass(frozen=True)
class Package:
    """One .deb file."""

    path: Path
    name: str
    version: str
    architecture: str

    @classmethod
    def of(cls, path: Path) -> Package | None:
        """A package by its file name; None where the file has no such name."""
        found = _NAME.fullmatch(path.stem.replace("%3a", ":"))
        return cls(path, **found.groupdict()) if found else None

    @property
    def upstream(self) -> str:
        """The version without Debian's own parts, e.g. '3.11.2'."""
        return re.split(r"[-+~]", self.version.rpartition(":")[2])[0]


def fetch_packages(
    names: Sequence[str],
    python_names: Sequence[str],
    platform: Platform,
    source: PackageSource,
    scratch: Path,
) -> dict[str, Package]:
    """Packages by name, for one architecture.

    Args:
        python_names: those of Python, with X.Y for the version: the suite's default decides.
        scratch: where they may be put.

    Raises:
        UsageError: there is no apt, it can't reach a mirror, or packages are missing.
    """
    if source.directory is not None:
        return _from_directory(source.directory, names, python_names, platform)
    apt = _Apt(scratch, platform, source.mirror)
    apt.update()
    python = apt.default_python()
    wanted = [*names, *(name.replace("X.Y", python) for name in python_names)]
    return apt.download(wanted)


def read_package(path: Path) -> Iterator[tuple[str, bytes | None, str | None]]:
    """The files of a package: (path without a leading slash, content, or what a link points to).

    A hard link's target is a path of the package, a symbolic one's as it stands in the link.

    Raises:
        UsageError: the package can't be read.
    """
    program = shutil.which("dpkg-deb")
    if program is None:
        raise UsageError(
            "no dpkg-deb here, which reads Debian packages", hint="install the package dpkg"
        )
    done = subprocess.run([program, "--fsys-tarfile", str(path)], capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"{path} is no Debian package: {said}")
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.issym():
                    yield name, None, member.linkname
                elif member.isreg() or member.islnk():
                    handle = archive.extractfile(member)
                    yield name, handle.read() if handle else b"", None
    except (tarfile.TarError, KeyError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def _from_directory(
    directory: Path, names: Sequence[str], python_names: Sequence[str], platform: Platform
) -> dict[str, Package]:
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", hint="--packages names one of .deb files")
    there: dict[str, Package] = {}
    for path in sorted(directory.glob("*.deb")):
        package = Package.of(path)
        if package is not None and package.architecture == platform.debian:
            there[package.name] = package
    python = next(
        (m[1] for name in there if (m := re.fullmatch(r"python(3\.\d+)-minimal", name))), None
    )
    wanted = [*names, *(name.replace("X.Y", python or "X.Y") for name in python_names)]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise UsageError(
            f"{directory} lacks packages for {platform.debian}: {', '.join(missing)}",
            hint="put their .deb files there, under the names that Debian gives them",
        )
    return {name: there[name] for name in wanted}


class _Apt:
    """apt-get with its state, cache and architecture apart from the host's."""

    def __init__(self, scratch: Path, platform: Platform, mirror: str | None) -> None:
        if shutil.which("apt-get") is None:
            raise UsageError(
                "no apt-get here, which fetches the interpreter for the device",
                hint="build on Debian or Ubuntu (a container will do), or with --packages DIR, "
                "a directory of .deb files",
            )
        self.scratch = scratch
        self.platform = platform
        self.warnings = ""
        self.debs = scratch / "debs"
        for folder in ("state/lists/partial", "cache/archives/partial", "debs"):
            (scratch / folder).mkdir(parents=True, exist_ok=True)
        (scratch / "status").touch()
        settings: Mapping[str, str] = {
            "Dir::State": f"{scratch}/state",
            "Dir::State::status": f"{scratch}/status",
            "Dir::Cache": f"{scratch}/cache",
            "APT::Architecture": platform.debian,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        # Other architectures of the host are not wanted, and its hooks are for its own state.
        lines = ["#clear APT::Architectures;", "#clear APT::Update;", *lines]
        if mirror is not None:
            if len(mirror.split()) < 2 or re.search(r"[\n\[\]]", mirror):
                raise UsageError(
                    f"--mirror {mirror!r} is no mirror and suite",
                    hint="give the URL and the suite, e.g. 'https://HOST/debian bookworm'",
                )
            components = "" if len(mirror.split()) > 2 else " main"
            sources = scratch / "sources.list"
            signed = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
            option = f"[signed-by={signed}] " if signed.exists() else ""
            sources.write_text(f"deb {option}{mirror}{components}\n", encoding="utf-8")
            lines += [f'Dir::Etc::sourcelist "{sources}";', 'Dir::Etc::sourceparts "-";']
        self.config = scratch / "apt.conf"
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def update(self) -> None:
        # A source that lacks the architecture is no failure as long as another has it.
        done = self._run("apt-get", "--quiet", "update")
        self.warnings = done.stderr

    def default_python(self) -> str:
        """The version of the suite's Python, e.g. '3.11'."""
        done = self._run("apt-cache", "show", "python3-minimal")
        found = re.search(
            r"^(?:Pre-)?Depends:.*\bpython(3\.\d+)-minimal", done.stdout, re.MULTILINE
        )
        if found is None:
            raise self._nothing(f"the host's apt has no Python for {self.platform.debian}", done)
        return found[1]

    def download(self, names: Sequence[str]) -> dict[str, Package]:
        done = self._run("apt-get", "--quiet", "download", *names)
        there = {p.name: p for p in map(Package.of, self.debs.glob("*.deb")) if p is not None}
        missing = [name for name in names if name not in there]
        if missing:
            what = f"apt can't get {', '.join(missing)} for {self.platform.debian}"
            raise self._nothing(what, done)
        return {name: there[name] for name in names}

    def _nothing(self, what: str, done: subprocess.CompletedProcess[str]) -> UsageError:
        said = [
            line
            for line in (self.warnings + done.stderr).splitlines()
            if line.startswith(("E: ", "W: "))
        ]
        return UsageError(
            what + (f": {said[0].partition(' ')[2].strip()}" if said else ""),
            hint=f"check the connection; {_OTHER_WAYS}",
        )

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [program, "-c", str(self.config), *arguments],
                cwd=self.debs,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"{program} {arguments[-1]} did not end in {TIMEOUT_S:g} s",
                hint=f"check the connection; {_OTHER_WAYS}",
            ) from error
