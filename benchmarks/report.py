"""Write tables of results, as text for the terminal and as sections of a Markdown file."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Comparison

__all__ = ["Table", "heading", "insert", "section"]

HEADINGS = ("", "ours", "peer", "ratio", "spread of the ratio", "target", "met", "on the test rows, ours and peer")
TITLE = """\
# Results

Written by `python -m benchmarks --write`, part by part, with one section for each processor; README.md says what is
compared. Medians, with the range in brackets."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The results of a benchmark."""

    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    """Names of the rows that could not be measured."""

    @classmethod
    def of(cls, found: Sequence[Comparison]) -> Table:
        """Return the table of comparisons."""
        notes = [line for each in found if each.notes for line in (f"{each.name}:", *each.notes, "")]
        return cls(headings=HEADINGS, rows=[_cells(each) for each in found], notes=notes[:-1])

    def text(self) -> str:
        """Return it with columns of equal width."""
        rows = [list(self.headings), *map(list, self.rows)] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *([""] if lines and self.notes else []), *self.notes])

    def markdown(self) -> str:
        """Return it as Markdown."""
        rows = [self.headings, ["---"] * len(self.headings), *self.rows] if self.rows else []
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        notes = ["```", *self.notes, "```"] if self.notes else []
        return "\n".join([*lines, *([""] if lines and notes else []), *notes])


def section(table: Table, title: str, described: Mapping[str, str], settings: str) -> str:
    """Return the text below a part's heading: the table and the machine."""
    measured = [f"- {name}: {value}" for name, value in {"measured": settings, **described}.items()]
    return "\n".join([f"{title[0].upper()}{title[1:]}.", "", table.markdown(), "", *measured])


def heading(described: Mapping[str, str]) -> str:
    """Return the heading of a machine's section: its processor and its bf16 instructions."""
    bf16 = [flag for flag in described["flags"].split() if flag.endswith("_bf16")] or ["no bf16 instructions"]
    return ", ".join([described["processor"], described["version"], *bf16])


def insert(path: Path, processor: str, part: str, text: str, order: Sequence[str]) -> None:
    """Write a part's section below its processor's heading in a file, replacing an earlier one.

    Sections of other parts and processors do not change. Parts are in the given order.
    """
    found = _parse(path.read_text(encoding="utf-8")) if path.exists() else {}
    found.setdefault(processor, {})[part] = text
    lines = [TITLE]
    for name, parts in found.items():
        lines += ["", f"## {name}"]
        for each in sorted(parts, key=lambda each: order.index(each) if each in order else len(order)):
            lines += ["", f"### {each}", "", parts[each]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parse(text: str) -> dict[str, dict[str, str]]:
    """Return the text of each part's section by processor and part."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, *parts = re.split(r"^### ", block, flags=re.MULTILINE)
        titled = [part.partition("\n") for part in parts]
        found[name.strip()] = {title.strip(): body.strip() for title, _, body in titled}
    return found


def _cells(each: Comparison) -> tuple[str, ...]:
    if not each.was_run:
        return each.name, "not run", f"not run ({each.peer_name})", "", "", each.target, "not run", ""
    shown = f"{each.metric} {each.ours_metric:.4f}, {each.peer_metric:.4f}" if each.metric else ""
    return (
        each.name,
        _figure(each.ours, each.unit),
        f"{_figure(each.peer, each.unit)} ({each.peer_name})",
        f"{each.ratio:.2f}",
        f"{min(each.ratios):.2f} to {max(each.ratios):.2f}, n={len(each.ratios)}",
        each.target,
        ("yes" if each.met else "NO") if each.target else "",
        shown,
    )


def _figure(values: Sequence[float], unit: str) -> str:
    """Return the median and the range."""
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    return f"{statistics.median(values):,.{digits}f} {unit} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"
