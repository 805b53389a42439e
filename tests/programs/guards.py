"""`make guards`: remove each guard from a copy of the source, one at a time.

A test must fail.

A guard is a line or two that only matters when something goes wrong. A test suite that passes without it does not test
it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from programs.guard import Guard
from programs.library_guards import LIBRARY_GUARDS
from programs.registry_guards import REGISTRY_GUARDS

ROOT = Path(__file__).parents[2]
PARTS = ("src", "tasks", "flows", "tests", "benchmarks", "configs", "pyproject.toml", "requirements.lock", "README.md")
SECONDS = 600
NO_TEST = "NONE"
GUARDS = (*REGISTRY_GUARDS, *LIBRARY_GUARDS)


def main(names: list[str]) -> int:
    """Remove the named guards, or all, and print the table.

    Return 1 if no test failed for one of them.
    """
    chosen = [guard for guard in GUARDS if not names or guard.name in names]
    rows = []
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = Path(folder) / "project"
        _copy(copy)
        needed = sorted({test for guard in chosen for test in guard.tests})
        print(f"with every guard in place: {len(needed)} files or tests", flush=True)
        failed, output = _run(copy, needed, stop_early=False)
        if failed:
            print(output)
            print("tests fail with every guard in place: correct them first")
            return 1
        for guard in chosen:
            path = copy / guard.file
            source = path.read_text()
            path.write_text(without(guard, source))
            started = time.monotonic()
            failed, _ = _run(copy, guard.tests)
            path.write_text(source)
            failing_test = failed[0] if failed else NO_TEST
            rows.append((guard.name, failing_test, f"{time.monotonic() - started:.0f} s"))
            print(f"  without {guard.name:<48} failing test: {failing_test}", flush=True)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print(
        "\n" + "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    )
    detected = sum(row[1] != NO_TEST for row in rows)
    print(f"\nthe removal of {detected} of {len(rows)} guards was detected")
    return int(detected < len(rows))


def without(guard: Guard, source: str) -> str:
    """Return the source without the guard."""
    if source.count(guard.present) != 1:
        raise SystemExit(f"{guard.name}: {guard.file} has {source.count(guard.present)} times: {guard.present}")
    return source.replace(guard.present, guard.absent)


def _copy(copy: Path) -> None:
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy / part)


def _run(copy: Path, tests: list[str] | tuple[str, ...], *, stop_early: bool = True) -> tuple[list[str], str]:
    """Run tests with the copy's source; return the failed ones and pytest's output."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no"]
    try:
        done = subprocess.run(
            [*command, *(["-x"] if stop_early else []), *tests],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS if stop_early else None,
        )
    except subprocess.TimeoutExpired:
        return ["a test that timed out"], ""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) and not failed:
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [re.sub(r"^[^:]*/", "", each) for each in failed], done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
