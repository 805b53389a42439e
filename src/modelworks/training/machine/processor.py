"""The processor's name, and those of its instruction sets that decide how fast it computes."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "find"]

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
COMPUTING = ("avx", "fma", "amx")
"""What the names of flags begin with that decide which kernels torch, oneDNN and MKL take."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A kind of processor, as Linux describes it."""

    model: str
    """Its name; hypervisors often give several generations the same one."""
    version: str
    """Family, model and stepping, which tell those generations apart; empty where the system gives none."""
    flags: tuple[str, ...]
    """Those that decide which kernels compute, sorted."""

    @property
    def has_bf16(self) -> bool:
        """Whether it has instructions for bf16 products: that does not mean that they are fast."""
        return any(flag in self.flags for flag in BF16_FLAGS)


def find(information: Path = Path("/proc/cpuinfo")) -> Processor:
    """Describe the processor of this machine; without flags where the system is not Linux."""
    fields: dict[str, str] = {}
    try:
        with information.open() as stream:
            for line in stream:
                if not line.strip() and fields:  # the next processor, which is like the first
                    break
                name, _, value = line.partition(":")
                fields[name.strip()] = value.strip()
    except OSError:
        return Processor(model=platform.processor() or platform.machine(), version="", flags=())
    version = " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping") if name in fields)
    flags = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(COMPUTING))
    return Processor(model=fields.get("model name", platform.machine()), version=version, flags=tuple(flags))
