"""Starts one of the emulated devices and says how to reach it, until Ctrl-C.

PYTHONPATH=tests python -m devices.serve {sshd,arm64,armv7,virt,raspi3b,phone}
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable

from .adbd import AdbPhone, start_adb_phone
from .arm64 import start_arm64
from .armv7 import start_armv7
from .base import DeviceUnavailable, SshDevice
from .raspi3b import start_raspi3b
from .sshd import start_sshd
from .virt import start_virt

DEVICES: dict[str, Callable[[], SshDevice | AdbPhone]] = {
    "sshd": start_sshd,
    "arm64": start_arm64,
    "armv7": start_armv7,
    "virt": start_virt,
    "raspi3b": start_raspi3b,
    "phone": start_adb_phone,
}


def words(device: SshDevice | AdbPhone) -> str:
    """What to type in another terminal."""
    if isinstance(device, AdbPhone):
        environment, address = device.server.environment, f"adb://{device.serial}"
    else:
        environment, address = {"EDGEWRIGHT_SSH_CONFIG": str(device.ssh_config_path)}, device.url
    exports = [f"export {name}={value}" for name, value in environment.items()]
    return "\n".join([*exports, f"edgewright profile MODEL --device {address}"])


def main() -> None:
    parser = argparse.ArgumentParser(description="An emulated device, until Ctrl-C.")
    parser.add_argument("device", choices=DEVICES)
    name = parser.parse_args().device
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with DEVICES[name]() as device:
            print(words(device), flush=True)
            signal.pause()
    except DeviceUnavailable as reason:
        raise SystemExit(f"{name}: {reason}") from None
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
