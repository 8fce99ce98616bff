"""The emulated phone is what it claims to be: Android's tools and rights, and no Python."""

from __future__ import annotations

import subprocess

import pytest
from devices.adbd import AdbPhone, AdbPhoneFactory
from devices.adbd_files import CPU, RECORDED, THERMAL, THERMALSERVICE
from devices.processes import wait_until

pytestmark = pytest.mark.device


def says(phone: AdbPhone, command: str) -> str:
    return phone.execute(command).stdout.strip()


def test_it_looks_like_a_phone(adb_phone: AdbPhoneFactory) -> None:
    phone = adb_phone()
    assert says(phone, "getprop ro.product.model") == "Pixel 9"
    assert "[ro.product.cpu.abi]: [arm64-v8a]" in says(phone, "getprop")
    assert says(phone, "uname -m") == "aarch64"
    assert says(phone, "id -u") == "2000"
    assert "MIRBSD KSH" in says(phone, "echo $KSH_VERSION")
    assert says(phone, "command -v python3 gcc ldd apt || echo none") == "none"
    assert says(phone, "ls /lib /usr /lib64 /tmp 2>/dev/null || echo none") == "none"
    parts = says(phone, "grep part /proc/cpuinfo").split("\n")
    assert [part[-5:] for part in parts] == ["0xd80"] * 4 + ["0xd81"] * 3 + ["0xd82"]
    assert says(phone, f"cat {CPU}/cpu7/cpufreq/scaling_max_freq") == "3105000"
    assert says(phone, "dumpsys meminfo 4711") == "No process found for: 4711"
    assert says(phone, "dumpsys thermalservice") == THERMALSERVICE.strip()
    assert says(phone, "dumpsys battery | grep status") == "status: 5"


def test_only_one_directory_is_the_shell_user_s(adb_phone: AdbPhoneFactory) -> None:
    phone = adb_phone()
    writable = "for d in / /system /data /data/local /vendor /sdcard; do touch $d/x 2>&1; done"
    lines = says(phone, writable).split("\n")
    assert len(lines) == 6 and all("denied" in line or "Read-only" in line for line in lines)
    assert says(phone, "cp /system/bin/sh /data/local/tmp && /data/local/tmp/sh -c 'echo it runs'")


def test_its_sensors_can_be_changed(adb_phone: AdbPhoneFactory) -> None:
    phone = adb_phone()
    phone.write(f"{THERMAL}/thermal_zone0/temp", "91000\n")
    phone.write(f"{RECORDED}/thermalservice", THERMALSERVICE.replace("Status: 0\n", "Status: 3\n"))
    assert says(phone, f"cat {THERMAL}/thermal_zone0/temp") == "91000"
    assert "Thermal Status: 3" in says(phone, "dumpsys thermalservice")


def test_two_phones_and_nothing_left_of_them(adb_phone: AdbPhoneFactory) -> None:
    phones = [adb_phone(), adb_phone()]
    for phone in phones:
        assert "connected to" in phone.server.command("connect", phone.serial)
        assert phone.server.command("shell", "getprop ro.product.model") == "Pixel 9\n"
        phone.close()
        assert not phone.directory.exists()
        # The kernel takes a namespace apart after the last of its processes has ended.
        show = ["ip", "link", "show", phone.interface]
        wait_until(lambda show=show: subprocess.run(show, capture_output=True).returncode != 0)
