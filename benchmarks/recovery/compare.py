"""Write the table of all tools: after kill -9 in the training, when nothing changed, after an edit of a helper."""

from __future__ import annotations

import traceback
from pathlib import Path

from benchmarks.recovery.cases import Cases, run_cases
from benchmarks.recovery.packages import NotInstalled, install
from benchmarks.recovery.tool import Observed
from benchmarks.recovery.tools import TOOLS
from benchmarks.report import Table

__all__ = ["measure"]

EPOCHS, SMALL_EPOCHS = 40, 10
HEADINGS = (
    "",
    "run again after kill -9 in the middle of the training",
    "run again, nothing changed",
    "run again after an edit of a helper of the loss",
)


def measure(_runs: int, folder: Path, *, small: bool = False) -> Table:
    """Run all cases of every tool once; the table compares counts, not times."""
    epochs = SMALL_EPOCHS if small else EPOCHS
    rows: list[tuple[str, ...]] = []
    notes = [f"{epochs} epochs on the 1,797 digits of scikit-learn; all processes get SIGKILL halfway."]
    failures = []
    for number, tool in enumerate(TOOLS):
        print(f"  {tool.name}", flush=True)
        try:
            packages = install(tool, folder / f"packages-{number}")
        except NotInstalled as error:
            rows.append((f"{tool.name} (not run: from its documentation)", *tool.documented))
            notes.append(f"{tool.name}: {', '.join(tool.packages)} not installed: {error}")
            continue
        try:
            found = run_cases(tool, folder / f"project-{number}", packages, epochs)
        except (Exception, SystemExit) as error:  # whatever fails, the other tools are measured
            traceback.print_exc()
            rows.append((f"{tool.name} (failed)", "", "", ""))
            notes.append(f"{tool.name}: {error}")
            failures.append(tool.name)
            continue
        rows.append((tool.name, *cells(found, epochs)))
        print("\n".join(f"    {cell}" for cell in rows[-1][1:]), flush=True)
        notes += [f"{tool.name}: {tool.settings}", *_figures(found)]
    return Table(headings=HEADINGS, rows=rows, notes=notes, failures=failures)


def cells(found: Cases, epochs: int) -> tuple[str, str, str]:
    """Return a description of each case: after the kill, in the second run, after the edit."""
    return _after_kill(found, epochs), _second(found), _edited(found)


def _after_kill(found: Cases, epochs: int) -> str:
    if found.resumed.code:
        return f"fails with exit code {found.resumed.code}"
    reached = found.killed.epochs
    lost = max(0, reached + found.resumed.epochs - epochs)
    redone = [step for step in found.killed.steps if step in found.resumed.steps]
    words = [f"{', '.join(redone)} again" if redone else "finished steps are kept", f"{lost} of {reached} epochs lost"]
    if found.resumed.versions != 1:
        words.append(f"{found.resumed.versions} versions registered")
    if found.resumed.open_runs:
        words.append(f"the killed MLflow run stays RUNNING{_times(found.resumed.open_runs)}")
    return "; ".join(words)


def _second(found: Cases) -> str:
    if found.second.code:
        return f"fails with exit code {found.second.code}"
    return _redone(found.second, found.resumed.versions, "the same model")


def _edited(found: Cases) -> str:
    if found.edited.code:
        return f"fails with exit code {found.edited.code}"
    if not found.edited.epochs:
        return (
            f"not noticed: production stays the model of the old code ({_redone(found.edited, found.second.versions)})"
        )
    return _redone(found.edited, found.second.versions, "the new model")


def _redone(seen: Observed, versions_before: int, what: str = "") -> str:
    if not seen.steps:
        return "nothing is done"
    registered = seen.versions - versions_before
    tail = f"; registers {what or 'a model'} as version {seen.versions}" if registered else "; registers nothing"
    return f"{', '.join(seen.steps)} again{tail}"


def _times(count: int) -> str:
    return "" if count == 1 else f" ({count} of them)"


def _figures(found: Cases) -> list[str]:
    return [
        f"  {name:<8} exit {seen.code:>3}, {seen.seconds:5.1f} s, {seen.epochs:>2} epochs, versions {seen.versions},"
        f" runs RUNNING {seen.open_runs}, steps: {' '.join(seen.steps) or 'none'}"
        for name, seen in vars(found).items()
    ]
