"""What the emulated whole boards boot: a disk for all, a kernel and an initrd for each kind.

    python tests/devices/images.py prepare

builds them once and caches them. It needs root, mmdebstrap, cpio and mke2fs, and takes the
runtimes from the arm64 root, which it prepares where that is missing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from . import roots
else:
    import roots

ARM64_ROOT = roots.ROOTS["arm64"]
RUNTIMES = "modern"
PACKAGES = (*roots.PACKAGES, "busybox-static", "openssh-server", "openssh-sftp-server")
DISK_SIZE = "1400M"  # two thirds of it are free; on this machine, only what is written takes room
LAYOUT = 1  # to be raised when the way of building changes in a manner not seen above

# Finds the disk, puts the files of this very board on it, and goes there.
INITRD_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
while [ ! -b {disk} ]; do sleep 0.05; done
mount -t ext4 {disk} /disk
cp -a /board/. /disk/
exec switch_root /disk /sbin/init
"""


@dataclass(frozen=True)
class Kernel:
    """Debian's kernel for one kind of board.

    modules: what the disk and the network need, in the order in which they need each other.
    disk: how the kernel calls it.
    device_tree: file in the kernel's package; empty where the machine brings its own.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    disk: str
    device_tree: str = ""

    @property
    def directory(self) -> Path:
        """Where `vmlinuz`, `initrd` and, for some, `device.dtb` are, or would be."""
        recipe = [self.package, self.modules, self.disk, self.device_tree, INITRD_INIT, LAYOUT]
        return roots.cached(f"kernel-{self.name}", recipe)


VIRT = Kernel(
    name="virt",
    package="linux-image-cloud-arm64",  # small, and quick to start
    modules=(
        "drivers/virtio/virtio",
        "drivers/virtio/virtio_ring",
        "drivers/virtio/virtio_mmio",
        "drivers/block/virtio_blk",
        "net/core/failover",
        "drivers/net/net_failover",
        "drivers/net/virtio_net",
    ),
    disk="/dev/vda",
)
RASPI3B = Kernel(
    name="raspi3b",
    package="linux-image-arm64",
    modules=(
        "crypto/crc32c_generic",
        "lib/crc16",
        "fs/mbcache",
        "fs/jbd2/jbd2",
        "fs/ext4/ext4",
        "drivers/mmc/host/bcm2835",
        "drivers/usb/common/usb-common",
        "drivers/usb/core/usbcore",
        "drivers/usb/roles/roles",
        "drivers/usb/gadget/udc/udc-core",
        "drivers/usb/phy/phy-generic",
        "drivers/usb/dwc2/dwc2",
        "drivers/net/mii",
        "drivers/net/usb/usbnet",
        "drivers/net/usb/cdc_ether",
        "drivers/thermal/broadcom/bcm2835_thermal",
    ),
    disk="/dev/mmcblk0",
    device_tree="broadcom/bcm2837-rpi-3-b.dtb",
)


def disk_directory() -> Path:
    """Where `disk.ext4` and `busybox` are, or would be."""
    recipe = [PACKAGES, DISK_SIZE, RUNTIMES, ARM64_ROOT.recipe, LAYOUT]
    return roots.cached("disk", recipe)


def missing(kernel: Kernel) -> str | None:
    """Why there is nothing to boot, or None when there is."""
    for directory in (disk_directory(), kernel.directory):
        if not directory.is_dir():
            return f"nothing to boot at {directory}: python {Path(__file__).name} prepare"
    return None


def prepare() -> None:
    """Build what is missing."""
    if not disk_directory().is_dir():
        roots.prepare(ARM64_ROOT)
    roots.build_once(disk_directory(), build_disk)
    for kernel in (VIRT, RASPI3B):
        roots.build_once(kernel.directory, lambda directory, of=kernel: build_kernel(of, directory))


def build_disk(directory: Path) -> None:
    directory.mkdir()
    tree = directory / "tree"
    roots.unpack(roots.ARM64, PACKAGES, roots.LINKS, tree)
    shutil.copy2(tree / "bin/busybox", directory)
    (tree / "sbin/init").symlink_to("/bin/busybox")
    runtimes, _ = roots.layers(ARM64_ROOT, RUNTIMES)
    roots.run("cp", "--archive", f"{runtimes}/.", str(tree))
    disk = directory / "disk.ext4"
    roots.run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk), DISK_SIZE)
    shutil.rmtree(tree)


def build_kernel(kernel: Kernel, directory: Path) -> None:
    """Unpack the kernel, and make an initrd: busybox, the modules, and the script."""
    directory.mkdir()
    tree = directory / "tree"
    roots.unpack(roots.ARM64, (kernel.package,), {}, tree)
    next((tree / "boot").glob("vmlinuz-*")).rename(directory / "vmlinuz")
    if kernel.device_tree:
        [device_tree] = tree.glob(f"usr/lib/linux-image-*/{kernel.device_tree}")
        device_tree.rename(directory / "device.dtb")
    content = directory / "content"
    for folder in ("bin", "dev", "disk", "modules"):
        (content / folder).mkdir(parents=True)
    shutil.copy2(disk_directory() / "busybox", content / "bin")
    modules = next((tree / "lib/modules").iterdir()) / "kernel"
    for position, name in enumerate(kernel.modules):
        module = modules / f"{name}.ko"
        shutil.copy2(module, content / "modules" / f"{position:02}-{module.name}")
    script = content / "init"
    script.write_text(INITRD_INIT.format(disk=kernel.disk))
    script.chmod(0o755)
    (directory / "initrd").write_bytes(cpio(content))
    shutil.rmtree(content)
    shutil.rmtree(tree)


def cpio(directory: Path) -> bytes:
    """A directory's content as the kernel unpacks it; such archives may follow one another."""
    names = [str(path.relative_to(directory)) for path in sorted(directory.rglob("*"))]
    command = ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"]
    done = subprocess.run(
        command, cwd=directory, input="\n".join(names).encode(), check=True, capture_output=True
    )
    return done.stdout


if __name__ == "__main__":
    if sys.argv[1:] != ["prepare"]:
        raise SystemExit("usage: images.py prepare")
    prepare()
