from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewright.targets.hwcap import features_from_hwcap
from edgewright.targets.profile import FEATURES

words = st.integers(0, 2**64 - 1)


def test_known_boards() -> None:
    # Raspberry Pi 4 (Cortex-A72): fp asimd evtstrm crc32 cpuid.
    assert features_from_hwcap("aarch64", 0x887, 0) == ("neon", "asimd")
    # Raspberry Pi 5 (Cortex-A76): fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp
    # cpuid asimdrdm lrcpc dcpop asimddp.
    assert features_from_hwcap("aarch64", 0x119FFF, 0) == ("neon", "asimd", "fp16", "dotprod")
    # Raspberry Pi 3 with a 32-bit system: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva
    # idivt vfpd32 lpae evtstrm.
    assert features_from_hwcap("armv7l", 0x3FB0D6, 0x10) == ("neon",)
    assert features_from_hwcap("aarch64", 2, 1 << 13 | 1 << 14) == ("neon", "asimd", "i8mm", "bf16")
    assert features_from_hwcap("x86_64", 0x178BFBFF, 2) is None


@given(words, words)
def test_only_what_the_architecture_can_have(hwcap: int, hwcap2: int) -> None:
    for architecture in ("aarch64", "armv7l"):
        found = features_from_hwcap(architecture, hwcap, hwcap2)
        assert found is not None and set(found) <= FEATURES[architecture]
