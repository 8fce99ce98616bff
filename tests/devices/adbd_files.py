"""What makes the emulated phone a Google Pixel 9: its files, and what its commands print."""

from __future__ import annotations

CORES = 8
THERMAL = "/sys/class/thermal"
CPU = "/sys/devices/system/cpu"
RECORDED = "/system/etc/recorded"
"""What `dumpsys SERVICE` prints is the file of that name here; tests may change it."""
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


DUMPSYS = f"""\
#!/system/bin/sh
case "$1 $#" in
  "meminfo 2") echo "No process found for: $2" ;;
  "thermalservice 1" | "battery 1" | "meminfo 1") exec cat "{RECORDED}/$1" ;;
  *) echo "Can't find service: $1" >&2 ;;
esac
"""

# A phone with a Tensor chip, recorded in the tests of Skia's test machines (google/skia-buildbot,
# machine/go/machine/processor/impl_test.go); about a third of its sensors. What is cached may be
# hours old: the current ones come from the HAL.
THERMALSERVICE = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 3
\tkilled: false
\tbroadcasts count: -1
ThermalStatusListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=8900.0, mType=7, mName=soft_ocp_cpu2, mStatus=0}
\tTemperature{mValue=0.0, mType=6, mName=battery_cycle, mStatus=0}
\tTemperature{mValue=20.723001, mType=-1, mName=quiet_therm, mStatus=0}
\tTemperature{mValue=20.2, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=61.000004, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=36.0, mType=1, mName=G3D, mStatus=0}
\tTemperature{mValue=52.000004, mType=0, mName=MID, mStatus=0}
\tTemperature{mValue=37.0, mType=9, mName=TPU, mStatus=0}
\tTemperature{mValue=22.771002, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=25.000002, mType=9, mName=TPU, mStatus=0}
\tTemperature{mValue=8900.0, mType=7, mName=soft_ocp_cpu2, mStatus=0}
\tTemperature{mValue=1250.0, mType=6, mName=vdroop2, mStatus=0}
\tTemperature{mValue=0.0, mType=8, mName=soc, mStatus=0}
\tTemperature{mValue=26.000002, mType=1, mName=G3D, mStatus=0}
\tTemperature{mValue=26.000002, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=27.000002, mType=0, mName=LITTLE, mStatus=0}
\tTemperature{mValue=-0.117000006, mType=-1, mName=USB2-MINUS-USB, mStatus=0}
\tTemperature{mValue=22.912, mType=-1, mName=neutral_therm, mStatus=0}
\tTemperature{mValue=27.000002, mType=0, mName=MID, mStatus=0}
\tTemperature{mValue=24.83324, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
\tTemperature{mValue=22.771002, mType=-1, mName=quiet_therm, mStatus=0}
\tTemperature{mValue=22.1, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
"""

# A Samsung phone on a USB cable: issue 150 of zebrunner/mcloud-device, without Samsung's own lines.
BATTERY_SERVICE = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 0
  Max charging voltage: 0
  Charge counter: 2967000
  status: 5
  health: 2
  present: true
  level: 100
  scale: 100
  voltage: 4312
  temperature: 309
  technology: Li-ion
"""

# A Xiaomi phone of 6 GB, the last lines, as published in JsonChao's articles on Android's memory.
MEMINFO = """\
Total RAM: 5,847,124K (status normal)
 Free RAM: 3,711,324K (  692,588K cached pss + 2,428,616K cached kernel +   117,492K \
cached ion +   472,628K free)
 Used RAM: 2,864,761K (2,408,529K used pss +   456,232K kernel)
 Lost RAM:   184,330K
     ZRAM:   174,628K physical used for   625,388K in swap (2,621,436K total swap)
   Tuning: 256 (large 512), oom   322,560K, restore limit   107,520K (high-end-gfx)
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
        "/system/bin/dumpsys": DUMPSYS,
        f"{RECORDED}/thermalservice": THERMALSERVICE,
        f"{RECORDED}/battery": BATTERY_SERVICE,
        f"{RECORDED}/meminfo": MEMINFO,
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
