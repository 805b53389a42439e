"""RESULTS.md: one section for each processor, so that figures of several machines stand beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["merged", "title"]

INTRODUCTION = """\
# Results

Written by `python -m benchmarks --write`; README.md says what is compared. Medians, with the range in brackets. One
section for each processor; a run replaces the section of its own.
"""


def title(described: Mapping[str, str]) -> str:
    """The heading of a machine's section: its processor, and the bf16 instructions that tell its figures apart."""
    flags = [flag for flag in described["flags"].split() if flag.endswith("_bf16")]
    return f"{described['processor']}, {described['version']}, {', '.join(flags) or 'no bf16 instructions'}"


def merged(existing: str, heading: str, section: Sequence[str]) -> str:
    """The file with one section replaced, or added at its end; the others stay as they are."""
    _, *sections = ("\n" + existing).split("\n## ")
    kept = {text.partition("\n")[0]: text.partition("\n")[2].strip("\n") for text in sections}
    kept[heading] = "\n".join(section).strip("\n")
    return INTRODUCTION + "".join(f"\n## {name}\n\n{text}\n" for name, text in kept.items())
