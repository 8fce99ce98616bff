"""What the agent reads of a device: cores, heat, batteries, power, other load, steadiness."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden.device_output import (
    BATTERY_FULL,
    BATTERY_WITH_LOG,
    PI5_PMIC,
    PI5_WATTS,
    SAMSUNG_THERMAL,
)
from hypothesis import given
from hypothesis import strategies as st

from edgewright.profiler.agent import common, cpus, power, thermal
from edgewright.profiler.agent.accelerators import traces
from edgewright.profiler.agent.common import Refusal
from edgewright.profiler.agent.conditions import Observer
from edgewright.profiler.agent.device import device_model, hardware_capabilities, os_name
from edgewright.profiler.agent.load import OtherLoad
from edgewright.profiler.agent.steady import MIN_WINDOW, Steadiness


class Device:
    """A /sys and a PATH of our own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def program(self, name: str, script: str) -> None:
        file = self.root / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def core(self, number: int, maximum: int, now: int, **more: object) -> None:
        folder = f"devices/system/cpu/cpu{number}"
        self.write(f"{folder}/cpufreq/cpuinfo_max_freq", maximum)
        self.write(f"{folder}/cpufreq/scaling_cur_freq", now)
        for name, value in more.items():
            self.write(f"{folder}/{name}", value)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Device]:
    monkeypatch.setattr(common, "SYS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    yield Device(tmp_path)


@pytest.fixture
def eight_cores(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return device


def test_clusters_share_a_policy(device: Device) -> None:
    for number, policy in ((0, "policy0"), (1, "policy0"), (2, "policy2")):
        folder = device.root / "devices/system/cpu"
        (folder / f"cpu{number}").mkdir(parents=True)
        (folder / f"cpu{number}/cpufreq").symlink_to(f"../cpufreq/{policy}")
    for policy, hertz in (("policy0", 1_800_000), ("policy2", 2_850_000)):
        base = f"devices/system/cpu/cpufreq/{policy}"
        device.write(f"{base}/scaling_cur_freq", hertz // 2)
        device.write(f"{base}/cpuinfo_max_freq", hertz)
        device.write(f"{base}/scaling_governor", "sched_pixel")
    small, big = cpus.clusters()
    assert (small["cpus"], big["cpus"]) == ([0, 1], [2])
    assert (big["frequency_hz"], big["max_frequency_hz"]) == (1_425_000_000, 2_850_000_000)
    assert big["governor"] == "sched_pixel" and big["allowed_frequency_hz"] is None


def test_big_and_little_by_capacity_before_frequency(eight_cores: Device) -> None:
    for number in range(8):
        kind = 0 if number < 4 else 1 if number < 7 else 2
        eight_cores.core(number, 2_000_000, 1_000_000, cpu_capacity=(250, 600, 1024)[kind])
    assert cpus.choose_cpus("little") == [0, 1, 2, 3]
    assert cpus.choose_cpus("big") == [7]


def test_big_and_little_by_frequency(eight_cores: Device) -> None:
    for number in range(8):
        eight_cores.core(number, 3_000_000 if number in (0, 1) else 1_800_000, 1_000_000)
    assert cpus.choose_cpus("big") == [0, 1]
    assert cpus.choose_cpus("little") == [2, 3, 4, 5, 6, 7]


def test_the_profile_helps_where_the_kernel_does_not_tell(eight_cores: Device) -> None:
    assert cpus.choose_cpus("big", [1, 3, 4]) == [7]
    assert cpus.choose_cpus("little", [1, 3, 4]) == [0, 1, 2, 3]
    for counts in (None, [8], [1, 2]):
        with pytest.raises(Refusal, match="look alike"):
            cpus.choose_cpus("big", counts)


def test_cores_by_number(eight_cores: Device) -> None:
    assert cpus.choose_cpus(None) is None
    assert cpus.choose_cpus([5, 1, 5]) == [1, 5]
    with pytest.raises(Refusal, match="core 8, 11 can't be used: there are 0, 1, 2"):
        cpus.choose_cpus([8, 1, 11])


def test_the_power_of_a_raspberry_pi_5(device: Device) -> None:
    device.program(
        "vcgencmd", f"print({PI5_PMIC!r}) if sys.argv[1] == 'pmic_read_adc' else exit(1)"
    )
    watts, method = power.power_w()
    assert watts == pytest.approx(PI5_WATTS, abs=0.001)
    assert "pmic_read_adc" in method and "USB" in method


def battery(device: Device, status: str, scope: str | None = None, name: str = "battery") -> None:
    folder = f"class/power_supply/{name}"
    device.write(f"{folder}/type", "Battery")
    if scope:
        device.write(f"{folder}/scope", scope)
    for key, value in (("status", status), ("capacity", 81), ("temp", 274)):
        device.write(f"{folder}/{key}", value)
    device.write(f"{folder}/current_now", -412_000)
    device.write(f"{folder}/voltage_now", 4_000_000)


def test_a_battery_tells_the_power_only_while_it_gives_it(device: Device) -> None:
    battery(device, "Discharging")
    assert power.power_w()[0] == pytest.approx(1.648)
    assert power.battery() == {
        "level_percent": 81.0, "status": "Discharging", "charging": False, "temperature_c": 27.4,
    }  # fmt: skip
    battery(device, "Charging")
    with pytest.raises(LookupError, match="the battery is charging"):
        power.power_w()
    assert power.battery()["charging"] is True


def test_a_mouse_is_no_battery_of_the_device(device: Device) -> None:
    battery(device, "Discharging", scope="Device", name="a-mouse")
    with pytest.raises(LookupError, match="no battery"):
        power.battery()


def test_the_power_at_the_input_of_a_jetson(device: Device) -> None:
    for number, label, millivolts, milliamperes in (
        (1, "VDD_IN", 5048, 1000),
        (2, "VDD_SOC", 1, 1),
    ):
        device.write(f"class/hwmon/hwmon1/in{number}_label", label)
        device.write(f"class/hwmon/hwmon1/in{number}_input", millivolts)
        device.write(f"class/hwmon/hwmon1/curr{number}_input", milliamperes)
    assert power.power_w()[0] == pytest.approx(5.048)


@pytest.mark.parametrize(
    ("text", "level", "status", "temperature"),
    [(BATTERY_FULL, 100, "Full", 27.4), (BATTERY_WITH_LOG, 75, "Charging", 35.7)],
)
def test_a_phones_battery_by_its_service(
    device: Device, text: str, level: float, status: str, temperature: float
) -> None:
    device.program("dumpsys", f"print({text!r})")
    seen = power.battery()
    assert (seen["level_percent"], seen["status"]) == (level, status)
    assert seen["temperature_c"] == pytest.approx(temperature)


def test_a_phones_heat_by_its_service(device: Device) -> None:
    device.program("dumpsys", f"print({SAMSUNG_THERMAL!r})")
    assert thermal.throttling(with_services=True) == (False, "thermal status none")
    names = [zone["name"] for zone in thermal.zones(chip_only=False, with_services=True)]
    assert names == ["TYPE_CPU", "TYPE_BATTERY", "TYPE_SKIN", "TYPE_USB_PORT"]
    [chip] = thermal.zones(chip_only=True, with_services=True)
    assert chip == {"name": "TYPE_CPU", "temperature_c": 24.0}
    hot = SAMSUNG_THERMAL.replace("Thermal Status: 0", "Thermal Status: 3")
    device.program("dumpsys", f"print({hot!r})")
    assert thermal.throttling(with_services=True) == (True, "thermal status severe")
    with pytest.raises(LookupError, match="no CPU cooling device"):
        thermal.throttling(with_services=False)


def test_services_are_asked_seldom_while_measuring(device: Device) -> None:
    device.program(
        "dumpsys", f"open({str(device.root / 'asked')!r}, 'a').write('.'); print({BATTERY_FULL!r})"
    )
    observer = Observer()
    observer.look("before")
    asked = (device.root / "asked").read_text()
    during = observer.look("during", "m")
    assert (device.root / "asked").read_text() == asked
    assert during["battery"] is None and "10 s" in during["missing"]["battery"]
    assert during["model"] == "m"
    assert observer.look("after")["battery"]["level_percent"] == 100


def test_what_a_phone_calls_itself(device: Device) -> None:
    values = {
        "ro.product.manufacturer": "Google", "ro.product.model": "Pixel 8",
        "ro.build.version.release": "15",
    }  # fmt: skip
    device.program("getprop", f"print({values!r}.get(sys.argv[1], ''))")
    assert (device_model(), os_name()) == ("Google Pixel 8", "Android 15")


def test_other_programs_count_and_our_own_do_not() -> None:
    own = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        load = OtherLoad()
        load.look()
        time.sleep(0.5)
        calm = load.look()
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        try:
            load.look()
            time.sleep(1.0)
            busy = load.look()
        finally:
            other.kill()
            other.wait()
    finally:
        own.kill()
        own.wait()
    assert busy > 0.3, "half a core at least, beside whatever else this machine does"
    assert busy > calm


def steadiness(spent: list[int]) -> Steadiness:
    found = Steadiness()
    found.look(spent, finally_=True)
    return found


def test_steady_is_when_the_median_stays() -> None:
    assert steadiness([100] * 20).steady is True
    assert steadiness([100, 101, 5000, 99, 100] * 8).steady is True, "an outlier is no change"
    falling = steadiness([1000 - 10 * i for i in range(40)])
    assert falling.steady is False and falling.change is not None and falling.change < -0.03
    assert steadiness([100] * (2 * MIN_WINDOW - 1)).steady is None, "too few to tell"


@given(st.lists(st.integers(1, 10**12), max_size=200))
def test_steadiness_takes_any_times(spent: list[int]) -> None:
    found = steadiness(spent)
    assert (found.steady is None) == (len(spent) < 2 * MIN_WINDOW)
    assert found.change is None or found.change > -1


@given(st.integers(1, 10**9), st.integers(2 * MIN_WINDOW, 400))
def test_equal_times_are_steady(time_ns: int, count: int) -> None:
    assert steadiness([time_ns] * count).steady is True


def test_a_batterys_state_of_charge_is_no_chip(device: Device) -> None:
    for index, (name, value) in enumerate((("soc", 97_000), ("cpu-0-0", 41_000))):
        device.write(f"class/thermal/thermal_zone{index}/type", name)
        device.write(f"class/thermal/thermal_zone{index}/temp", value)
    found = thermal.zones(chip_only=False, with_services=False)
    assert thermal.hottest_c(found) == 41


def test_traces_of_accelerators(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "DEV", str(device.root / "dev"))
    device.write("dev/null", "")
    assert traces()["nodes"] == [] and traces()["buses"] == []
    device.write("dev/apex_0", "")
    device.write("dev/kgsl-3d0", "")
    device.write("class/drm/card0/device/uevent", "DRIVER=v3d\nOF_NAME=gpu")
    device.write("class/accel/accel0/device/uevent", "DRIVER=rocket")
    device.write("bus/usb/devices/1-1/idVendor", "18d1")
    device.write("bus/usb/devices/1-1/idProduct", "9302")
    device.write("bus/usb/devices/usb1/idVendor", "1d6b")
    device.write("bus/pci/devices/0000:01:00.0/vendor", "0x1ac1")
    device.write("bus/pci/devices/0000:01:00.0/device", "0x089a")
    device.write("class/remoteproc/remoteproc3/name", "64800000.dsp")
    found = traces()
    assert found["nodes"] == ["apex_0", "kgsl-3d0"]
    assert found["drivers"] == ["rocket", "v3d"]
    assert found["buses"] == ["18d1:9302", "1ac1:089a"]
    assert found["remote_processors"] == ["64800000.dsp"]
    assert found["missing"]["ro.soc.model"] == "no getprop (Android only)"
    device.program("getprop", "print('Tensor G4' if sys.argv[1] == 'ro.soc.model' else '')")
    assert traces()["ro.soc.model"] == "Tensor G4"


def test_the_auxiliary_vector_is_what_the_loader_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ""],
        env={"LD_SHOW_AUXV": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = dict(re.findall(r"^(AT_HWCAP2?):\s+(?:0x)?([0-9a-f]+)", done.stdout, re.MULTILINE))
    expected = [int(shown.get(name, "0"), 16) for name in ("AT_HWCAP", "AT_HWCAP2")]
    assert hardware_capabilities() == expected and expected[0] > 0
