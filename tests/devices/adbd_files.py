"""What makes the emulated phone a Google Pixel 9: its files, and what its commands print."""

from __future__ import annotations

CORES = 8
THERMAL = "/sys/class/thermal"
CPU = "/sys/devices/system/cpu"
BATTERY = "/sys/class/power_supply/battery"

# (first core, cores, part as in /proc/cpuinfo, lowest and highest frequency in kHz)
CLUSTERS = (
    (0, 4, "0xd80", 820000, 1950000),  # Cortex-A520
    (4, 3, "0xd81", 357000, 2600000),  # Cortex-A720
    (7, 1, "0xd82", 700000, 3105000),  # Cortex-X4
)

CPUINFO_CORE = """\
processor\t: {core}
BogoMIPS\t: 49.15
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 1

"""

ZONES = {"BIG": 45000, "MID": 43000, "LITTLE": 42000, "G3D": 40000, "battery": 31500}

PROPERTIES = {
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.hardware": "tokay",
    "ro.product.board": "tokay",
    "ro.product.brand": "google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a",
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 9",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor G4",
}

GETPROP = """\
#!/system/bin/sh
if [ $# -eq 0 ]; then exec sed 's/^\\([^=]*\\)=\\(.*\\)$/[\\1]: [\\2]/' /system/build.prop; fi
while IFS='=' read -r name value; do
  if [ "$name" = "$1" ]; then echo "$value"; exit; fi
done < /system/build.prop
echo "$2"
"""


def cpuinfo() -> str:
    """The phone's /proc/cpuinfo."""
    return "".join(
        CPUINFO_CORE.format(core=core, part=part)
        for first, count, part, _, _ in CLUSTERS
        for core in range(first, first + count)
    )


def phone_files() -> dict[str, str]:
    """Path on the phone -> its text; scripts begin with "#!"."""
    files = {
        "/system/etc/passwd": "root:x:0:0:root:/:/bin/sh\nshell:x:2000:2000:shell:/:/bin/sh\n",
        "/system/etc/group": "root:x:0:\nshell:x:2000:\n",
        "/system/etc/hosts": "127.0.0.1 localhost\n::1 ip6-localhost\n",
        "/system/build.prop": "".join(f"{name}={value}\n" for name, value in PROPERTIES.items()),
        "/system/bin/getprop": GETPROP,
    }
    for name in ("online", "possible", "present"):
        files[f"{CPU}/{name}"] = f"0-{CORES - 1}\n"
    for first, count, _, lowest, highest in CLUSTERS:
        policy = f"{CPU}/cpufreq/policy{first}"
        cores = " ".join(str(core) for core in range(first, first + count))
        files |= {
            f"{policy}/affected_cpus": f"{cores} \n",
            f"{policy}/related_cpus": f"{cores} \n",
            f"{policy}/cpuinfo_max_freq": f"{highest}\n",
            f"{policy}/cpuinfo_min_freq": f"{lowest}\n",
            f"{policy}/scaling_available_governors": "sched_pixel performance \n",
            f"{policy}/scaling_cur_freq": f"{highest}\n",
            f"{policy}/scaling_driver": "exynos-cpufreq\n",
            f"{policy}/scaling_governor": "sched_pixel\n",
            f"{policy}/scaling_max_freq": f"{highest}\n",
            f"{policy}/scaling_min_freq": f"{lowest}\n",
        }
    for number, (kind, millidegrees) in enumerate(ZONES.items()):
        files[f"{THERMAL}/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"{THERMAL}/thermal_zone{number}/temp"] = f"{millidegrees}\n"
    files |= {
        f"{BATTERY}/capacity": "82\n",
        f"{BATTERY}/current_now": "-312500\n",
        f"{BATTERY}/status": "Discharging\n",
        f"{BATTERY}/temp": "315\n",
        f"{BATTERY}/type": "Battery\n",
        f"{BATTERY}/voltage_now": "4012500\n",
    }
    return files


def phone_links() -> dict[str, str]:
    """Path on the phone -> where this link leads."""
    return {
        f"{CPU}/cpu{core}/cpufreq": f"../cpufreq/policy{first}"
        for first, count, _, _, _ in CLUSTERS
        for core in range(first, first + count)
    }
