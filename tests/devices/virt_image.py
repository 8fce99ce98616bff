"""What the emulated whole boards boot: a kernel, an initrd and a disk, built once and cached.

    python tests/devices/virt_image.py prepare

It needs root, mmdebstrap, cpio and mke2fs, and takes the runtimes from the arm64 root, which it
prepares where that is missing. The kernel is Debian's for clouds: small, and quick to start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

if __package__:
    from . import roots
else:
    import roots

ARM64_ROOT = roots.ROOTS["arm64"]
RUNTIMES = "modern"
PACKAGES = (
    *roots.PACKAGES,
    "busybox-static",
    "linux-image-cloud-arm64",
    "openssh-server",
    "openssh-sftp-server",
)
# In the order in which they need each other; ext4 is in the kernel.
MODULES = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_mmio",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
)
DISK_SIZE = "1400M"  # about half of it is free; on this machine, only what is written takes room
LAYOUT = 1  # to be raised when the way of building changes in a manner not seen above

# Finds the disk, puts the files of this very board on it (`Image.boot_archive`), and goes there.
INITRD_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
while [ ! -b /dev/vda ]; do sleep 0.05; done
mount -t ext4 /dev/vda /disk
cp -a /board/. /disk/
exec switch_root /disk /sbin/init
"""


def image() -> Path:
    """The directory with `vmlinuz`, `initrd` and `disk.ext4`, which nobody writes to."""
    recipe = [PACKAGES, MODULES, DISK_SIZE, INITRD_INIT, RUNTIMES, ARM64_ROOT.recipe, LAYOUT]
    return roots.cached("virt", recipe)


def missing() -> str | None:
    """Why there is no image to boot, or None when there is."""
    if image().is_dir():
        return None
    return f"no image of the board at {image()}: python {Path(__file__).name} prepare"


def prepare() -> None:
    """Build the image unless it is there."""
    if not image().is_dir():
        roots.prepare(ARM64_ROOT)
    roots.build_once(image(), build)


def build(directory: Path) -> None:
    directory.mkdir()
    tree = directory / "tree"
    roots.unpack(roots.ARM64, PACKAGES, roots.LINKS, tree)
    kernel = next((tree / "boot").glob("vmlinuz-*"))
    kernel.rename(directory / "vmlinuz")
    modules = next((tree / "lib/modules").iterdir())
    build_initrd(directory, tree / "bin/busybox", modules / "kernel")
    shutil.rmtree(modules)
    # Debian's own init is systemd, which starts far more than a test needs.
    (tree / "sbin/init").unlink(missing_ok=True)
    (tree / "sbin/init").symlink_to("/bin/busybox")
    runtimes, _ = roots.layers(ARM64_ROOT, RUNTIMES)
    roots.run("cp", "--archive", f"{runtimes}/.", str(tree))
    disk = directory / "disk.ext4"
    roots.run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk), DISK_SIZE)
    shutil.rmtree(tree)


def build_initrd(directory: Path, busybox: Path, modules: Path) -> None:
    """Write `initrd`: busybox, the modules that the disk and the network need, and the script."""
    content = directory / "initrd-content"
    for folder in ("bin", "dev", "disk", "modules"):
        (content / folder).mkdir(parents=True)
    shutil.copy2(busybox, content / "bin")
    for position, name in enumerate(MODULES):
        module = modules / f"{name}.ko"
        shutil.copy2(module, content / "modules" / f"{position}-{module.name}")
    script = content / "init"
    script.write_text(INITRD_INIT)
    script.chmod(0o755)
    (directory / "initrd").write_bytes(cpio(content))
    shutil.rmtree(content)


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
        raise SystemExit("usage: virt_image.py prepare")
    prepare()
