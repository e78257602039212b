"""What this machine's CPU is, in the kernel's words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NATIVE_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of CPUs that multiply bfloat16: x86's two, and Arm's."""


@dataclass(frozen=True)
class Cpu:
    """A kind of CPU."""

    name: str = ""
    vendor: str = ""
    """`GenuineIntel`, `AuthenticAMD`; empty where the kernel names none."""
    flags: frozenset[str] = frozenset()

    @property
    def multiplies_bfloat16(self) -> bool:
        """Natively. Others emulate it and are many times slower than in float32."""
        return not NATIVE_BFLOAT16.isdisjoint(self.flags)

    @property
    def is_amd_with_avx512(self) -> bool:
        return self.vendor == "AuthenticAMD" and "avx512f" in self.flags


def this_cpu(path: Path = Path("/proc/cpuinfo")) -> Cpu:
    """The first CPU that the kernel lists; one without a name where there is no such list."""
    if not path.exists():
        return Cpu()
    first, *_ = path.read_text().split("\n\n")
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    flags = fields.get("flags") or fields.get("Features") or ""
    return Cpu(fields.get("model name", ""), fields.get("vendor_id", ""), frozenset(flags.split()))
