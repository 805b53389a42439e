"""`modelworks doctor`: check the installation and the stores.

Repair what can be repaired safely.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from modelworks.cli.doctor import contents, databases, folders, installation, orchestration, production, tracking
from modelworks.cli.doctor.finding import Finding, State, failing
from modelworks.cli.output import print_json
from modelworks.errors import Interrupted, ModelworksError, Refused
from modelworks.project import Project
from modelworks.redaction import redacted

__all__ = ["doctor"]

CHECKS = (installation, folders, databases, orchestration, tracking, production)
"""The modules with checks, in order: a damaged database is reported before its content."""
FAULTS = (ModelworksError, OSError, ImportError)
"""Errors that end a check or a repair; any other error is a bug."""
MARKS: dict[State, str] = {"ok": "✔", "repaired": "✚", "would repair": "○", "failing": "✘"}


@dataclass(frozen=True)
class ReportedFinding:
    """A finding after its repair, as printed."""

    what: str
    state: State
    detail: str


def doctor(*, dry_run: bool, deep: bool, as_json: bool) -> None:
    """Run every check, repair what is safe to repair, and print the findings.

    Args:
        dry_run: repair nothing and change no file of the project.
        deep: read every stored byte, even of files whose size and times have not changed.
        as_json: print one object instead of one line per finding.

    Raises:
        Refused: a finding needs a manual repair.
    """
    project = Project.find()
    project.enter()
    reported = []
    with _temporary_prefect_home() if dry_run else _prefect_home(project):
        for module in (*CHECKS, contents) if deep else CHECKS:
            for finding in _findings(module, project):
                reported.append(_repaired(finding, dry_run=dry_run))
                if not as_json:
                    print(f"{MARKS[reported[-1].state]} {reported[-1].what:<32} {reported[-1].detail}", flush=True)
    failed = [each.what for each in reported if each.state == "failing"]
    if as_json:
        print_json({"ok": not failed, "findings": [vars(each) for each in reported]})
    if failed:
        raise Refused(
            f"to repair by hand: {', '.join(failed)}", "follow the hint in each line above", code="doctor.findings"
        ).after_output()


def _findings(module: ModuleType, project: Project) -> Iterator[Finding]:
    """Yield a module's findings; an error that stops its checks is a finding too."""
    try:
        yield from module.examine(project)
    except Interrupted:
        raise
    except FAULTS as error:
        yield failing(module.__name__.rpartition(".")[2], _described(error))


def _repaired(finding: Finding, *, dry_run: bool) -> ReportedFinding:
    if finding.state != "repairable":
        return ReportedFinding(finding.what, finding.state, redacted(finding.detail))
    assert finding.repair is not None
    if dry_run:
        return ReportedFinding(finding.what, "would repair", finding.detail)
    try:
        return ReportedFinding(finding.what, "repaired", f"{finding.detail}: {finding.repair()}")
    except Interrupted:
        raise
    except FAULTS as error:
        return ReportedFinding(finding.what, "failing", f"{finding.detail}: {_described(error)}")


def _described(error: ModelworksError | OSError | ImportError) -> str:
    if isinstance(error, ModelworksError):
        return f"{error.message}: {error.hint}"
    if isinstance(error, ImportError):
        return f"not checked, because a library cannot be imported: {redacted(str(error))}: {installation.REINSTALL}"
    return f"{redacted(str(error))}: correct this and run modelworks doctor again"


@contextmanager
def _prefect_home(project: Project) -> Iterator[None]:
    project.make_private_folders()
    yield


@contextmanager
def _temporary_prefect_home() -> Iterator[None]:
    """Set PREFECT_HOME to a temporary directory, because importing Prefect creates its home."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = folder
        yield
