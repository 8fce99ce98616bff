"""The file system of the emulated phone: built once, kept in a cache, never written to.

    python tests/devices/adbd_root.py prepare

is the only step that downloads anything. It needs root, mmdebstrap and qemu's user emulation;
running it again when all is there takes no time. The standard library is all it imports.

The phone has Android's shell (mksh), those of busybox's tools that Android has too, and nothing
else that a program could be linked to: the glibc that Debian's adbd needs lies where only adbd
looks for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if __package__:
    from . import roots
else:
    import roots

BACKPORTS = f"{roots.SUITE}-backports"
FROM_BACKPORTS = (
    "adbd",
    "android-libbase",
    "android-libboringssl",
    "android-libcutils",
    "android-liblog",
)
PACKAGES = ("busybox-static", "mksh")
LAYOUT = 1  # to be raised when the way of building changes in a manner not seen above

ADBD = "/apex/com.android.adbd"
LOADER = f"{ADBD}/lib64/ld-linux-aarch64.so.1"
LIBRARIES = (
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu/android",
)

# What Android 14 has of toybox; source: shell_and_utilities/README.md of AOSP's system/core.
TOOLS_OF_ANDROID = """\
[ awk base64 basename bc blkid blockdev bunzip2 bzcat bzip2 cal cat chgrp chmod chown chroot
chrt cksum clear cmp comm cp cpio cut date dd devmem df diff dirname dmesg dos2unix du echo
egrep env expand expr fallocate false fgrep file find flock fmt free freeramdisk fsfreeze fsync
getconf getopt grep groups gunzip gzip head hostname hwclock iconv id ifconfig inotifyd insmod
install ionice kill killall ln log logname losetup ls lsattr lsmod lsof lspci lsusb md5sum
microcom mkdir mkfifo mknod mkswap mktemp modinfo more mount mountpoint mv nc netcat netstat
nice nl nohup nproc nsenter od paste patch pgrep pidof ping ping6 pivot_root pkill pmap printenv
printf ps pwd readelf readlink realpath renice rev rm rmdir rmmod sed seq setsid sha1sum
sha224sum sha256sum sha384sum sha512sum sleep sort split stat strings stty swapoff swapon sync
sysctl tac tail tar taskset tee test time timeout top touch tr traceroute true truncate tty
tunctl umount uname uniq unix2dos unlink unshare uptime usleep uudecode uuencode vconfig vi
vmstat watch wc which whoami xargs xxd yes zcat
"""


def cached_root() -> Path:
    """Where the file system of this recipe is, or would be."""
    tools = sorted(TOOLS_OF_ANDROID.split())
    return roots.cached("phone", [roots.SUITE, FROM_BACKPORTS, PACKAGES, tools, LAYOUT])


def missing() -> str | None:
    """Why the phone can't be run from the cached file system, or None when it can."""
    remedy = f"python {Path(__file__).name} prepare"
    if not cached_root().is_dir():
        return f"no phone at {cached_root()}: {remedy}"
    if not roots.runs(roots.ARM64):
        return f"no emulation of arm64 is registered: {remedy}"
    return None


def prepare() -> None:
    """Register the emulator and build the file system, each unless it is already done."""
    if not roots.runs(roots.ARM64):
        roots.register_emulator(roots.ARM64)
    roots.build_once(cached_root(), build)


def build(directory: Path) -> None:
    """Make the phone out of Debian's packages."""
    directory.mkdir()
    backported = tuple(f"{package}/{BACKPORTS}" for package in FROM_BACKPORTS)
    with tempfile.TemporaryDirectory() as folder:
        debian = Path(folder) / "debian"
        roots.unpack(roots.ARM64, (*backported, *PACKAGES), {}, debian, (BACKPORTS,))
        install_adbd(debian, directory)
        install_tools(debian, directory)
    for name in ("data", "dev", "mnt", "proc", "sdcard", "storage", "sys", "system/etc", "vendor"):
        (directory / name).mkdir()
    (directory / "bin").symlink_to("/system/bin")
    (directory / "etc").symlink_to("/system/etc")


def install_adbd(debian: Path, phone: Path) -> None:
    """Put adbd and all libraries of its into one directory, as Android does."""
    module = phone / ADBD.lstrip("/")
    libraries = module / "lib64"
    libraries.mkdir(parents=True)
    (module / "bin").mkdir()
    shutil.copy2(debian / "usr/lib/android-sdk/platform-tools/adbd", module / "bin/adbd")
    for folder in LIBRARIES:
        for library in (debian / folder).glob("*.so*"):
            shutil.copy2(library, libraries / library.name)  # what links point to, too


def install_tools(debian: Path, phone: Path) -> None:
    """Put the shell and the tools that Android has, too, into /system/bin."""
    programs = phone / "system/bin"
    programs.mkdir(parents=True)
    shutil.copy2(debian / "usr/lib/klibc/bin/mksh", programs / "sh")
    shutil.copy2(debian / "bin/busybox", programs / "busybox")
    listed = subprocess.run(
        [str(programs / "busybox"), "--list"], check=True, capture_output=True, text=True
    )
    for tool in sorted(set(TOOLS_OF_ANDROID.split()) & set(listed.stdout.split())):
        (programs / tool).symlink_to("busybox")


if __name__ == "__main__":
    if sys.argv[1:] != ["prepare"]:
        raise SystemExit(f"usage: {Path(__file__).name} prepare")
    prepare()
