"""`python -m benchmarks [PART ...] [--list] [--runs N] [--small] [--write]`: measure, print and write tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import products
from benchmarks.measure import ROOT, machine
from benchmarks.parts import PARTS, Part, chosen
from benchmarks.report import heading, insert, section
from modelworks.errors import BadInput

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
LATEST = ROOT / "benchmarks" / "latest.md"
"""The output file without --write; git ignores it."""
FAILED, MISSING, INTERRUPTED = 1, 4, 130


def main(words: Sequence[str] | None = None) -> int:
    """Measure the chosen parts and return the exit code.

    0 if every chosen part was measured, 1 if one failed, 4 if none failed and a requirement is missing, 130 if it was
    interrupted.
    """
    arguments = _parser().parse_args(words)
    if arguments.list:
        width = max(len(part.name) for part in PARTS)
        print("\n".join(f"{part.name:<{width}}  {part.title}" for part in PARTS))
        return 0
    try:
        parts = chosen(arguments.parts)
    except BadInput as error:
        print(f"error: {error.message}\n  {error.hint}", file=sys.stderr)
        return error.exit_code
    if arguments.write and arguments.small:
        print("error: --small: its figures do not belong in RESULTS.md\n  leave --write out", file=sys.stderr)
        return BadInput.exit_code
    return measure_all(parts, arguments.runs, RESULTS if arguments.write else LATEST, small=arguments.small)


def measure_all(parts: Sequence[Part], runs: int, output: Path, *, small: bool = False) -> int:
    """Measure the parts, print and write each result at once, and return the exit code."""
    missing = {part.name: found for part in parts if (found := part.missing())}
    for each in dict.fromkeys(text for found in missing.values() for text in found):
        names = ", ".join(name for name, found in missing.items() if each in found)
        print(f"missing: {each}\n  not run without it: {names}", flush=True)
    outcomes, code = dict.fromkeys(missing, "not run, see above"), 0
    described = machine() if len(missing) == len(parts) else {**machine(), **products.described()}
    print("\n".join(f"{name:<10} {value}" for name, value in described.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for part in parts:
            if part.name in missing:
                continue
            print(f"\nmeasuring: {part.name}: {part.title}", flush=True)
            started = time.perf_counter()
            try:
                table = part.measure(runs, Path(folder) / part.name, small=small)
            except KeyboardInterrupt:
                outcomes[part.name], code = "interrupted", INTERRUPTED
                break
            except (Exception, SystemExit):  # whatever fails, the other parts are measured
                traceback.print_exc()
                outcomes[part.name], code = "FAILED, see above", FAILED
                continue
            seconds = time.perf_counter() - started
            print(f"\n{table.text()}", flush=True)
            settings = f"{described['date']} in {seconds:.0f} s, --runs {runs}{' --small' if small else ''}"
            text = section(table, part.title, described, settings)
            insert(output, heading(described), part.name, text, [each.name for each in PARTS])
            outcomes[part.name] = f"measured in {seconds:.0f} s"
            if table.failures:
                outcomes[part.name] += f"; FAILED: {', '.join(table.failures)}"
                code = FAILED
    print(f"\nresults: {output}")
    print("\n".join(f"  {part.name:<20} {outcomes.get(part.name, 'not run')}" for part in parts), flush=True)
    return code or (MISSING if missing else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare modelworks with other tools.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="see --list; by default all that need no GPU")
    parser.add_argument("--list", action="store_true", help="list the parts and what each measures")
    parser.add_argument("--runs", type=_positive, default=3, help="runs of each program (default 3)")
    parser.add_argument("--small", action="store_true", help="less work in some parts, for a run of minutes")
    parser.add_argument(
        "--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}, not {LATEST.relative_to(ROOT)}"
    )
    return parser


def _positive(word: str) -> int:
    if (number := int(word)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
