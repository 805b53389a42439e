"""Describe the processor and its instruction sets for vector and matrix operations."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "find"]

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
COMPUTING = ("avx", "fma", "amx")
"""Prefixes of the flags by which torch, oneDNN and MKL select their kernels."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A processor type, as in /proc/cpuinfo."""

    model: str
    """Model name; on virtual machines often the same for several generations."""
    version: str
    """Family, model and stepping, which differ between generations; empty if unknown."""
    flags: tuple[str, ...]
    """Flags that determine the kernels, sorted."""

    @property
    def has_bf16(self) -> bool:
        """Whether it has instructions for bf16 products, which are not always fast."""
        return any(flag in self.flags for flag in BF16_FLAGS)


def find(information: Path = Path("/proc/cpuinfo")) -> Processor:
    """Return the processor of this machine; without flags on other systems than Linux."""
    fields: dict[str, str] = {}
    try:
        with information.open() as stream:
            for line in stream:
                if not line.strip() and fields:  # the next processor, equal to the first
                    break
                name, _, value = line.partition(":")
                fields[name.strip()] = value.strip()
    except OSError:
        return Processor(model=platform.processor() or platform.machine(), version="", flags=())
    version = " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping") if name in fields)
    flags = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(COMPUTING))
    return Processor(model=fields.get("model name", platform.machine()), version=version, flags=tuple(flags))
