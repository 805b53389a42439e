"""`python -m benchmarks [help] [gate] [pipeline] [throughput] [training] [--runs N] [--write]`: measure and print a table."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import gate, pipeline, products, results, startup, throughput, training
from benchmarks.measure import ROOT, Comparison, machine

BENCHMARKS: dict[str, Callable[..., list[Comparison]]] = {
    "help": startup.measure,
    "gate": gate.measure,
    "pipeline": pipeline.measure,
    "throughput": throughput.measure,
    "training": training.measure,
}
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEADINGS = ("", "ours", "peer", "ratio", "spread of the ratio", "target", "met", "on the test rows, ours and peer")


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours against peers, in one session.")
    parser.add_argument("names", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--runs", type=int, default=3, help="of each program (default 3)")
    parser.add_argument(
        "--write", action="store_true", help=f"also write this processor's section of {RESULTS.relative_to(ROOT)}"
    )
    parser.add_argument("--small", action="store_true", help="training: fewer rows, for a first look in minutes")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="training: cuda has a table of its own"
    )
    arguments = parser.parse_args(words)
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown or arguments.runs < 1:
        parser.error(f"unknown benchmark: {', '.join(unknown)}" if unknown else "--runs: at least 1")
    if arguments.write and (arguments.names or arguments.small):
        parser.error("--write is for all benchmarks in full: leave names and --small out")

    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for name in arguments.names or BENCHMARKS:
            print(f"measuring: {name}", flush=True)
            options = {"small": arguments.small, "device": arguments.device} if name == "training" else {}
            found += BENCHMARKS[name](arguments.runs, Path(folder), **options)
    described = {**machine(), **products.described()}
    print("\n" + "\n".join(f"{name:<10} {value}" for name, value in described.items()) + "\n")
    print("\n".join(_plain(found)))
    if arguments.write:
        existing = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        section = _markdown(found, described)
        RESULTS.write_text(results.merged(existing, results.title(described), section), encoding="utf-8")


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
    """The median and the range."""
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    return f"{statistics.median(values):,.{digits}f} {unit} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def _plain(found: Sequence[Comparison]) -> list[str]:
    rows = [HEADINGS, *(_cells(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*table, *(line for each in found if each.notes for line in ("", f"{each.name}:", *each.notes))]


def _markdown(found: Sequence[Comparison], described: Mapping[str, str]) -> list[str]:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(_cells(each) for each in found)]
    return [
        *(f"- {name}: {value}" for name, value in described.items()),
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
        *(line for each in found if each.notes for line in ("", f"{each.name}:", "", "```", *each.notes, "```")),
    ]


if __name__ == "__main__":
    main()
