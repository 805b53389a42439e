"""`modelworks doctor`: check the installation, the stores and what a crash left behind; mend what is safe to mend."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from modelworks.cli.doctor import contents, databases, folders, installation, orchestration, production, tracking
from modelworks.cli.doctor.finding import Finding, State, ill
from modelworks.cli.output import print_json
from modelworks.errors import Interrupted, ModelworksError, Refused
from modelworks.project import Project
from modelworks.redaction import redacted

__all__ = ["doctor"]

ROOMS = (installation, folders, databases, orchestration, tracking, production)
"""In this order: a damaged database is reported before what is in it."""
MARKS: dict[State, str] = {"well": "✔", "mended": "✚", "would mend": "○", "ill": "✘"}


@dataclass(frozen=True)
class Said:
    """What the verb says of a finding."""

    what: str
    state: State
    detail: str


def doctor(*, dry_run: bool, deep: bool, as_json: bool) -> None:
    """Look at everything and say so.

    Args:
        dry_run: mend nothing, and leave every byte of the project as it is.
        deep: read every stored byte, also of files whose size and times have not changed.
        as_json: one object instead of a line per finding.

    Raises:
        Refused: something is ill that a person must mend.
    """
    project = Project.find()
    project.enter()
    said = []
    with _home_elsewhere() if dry_run else _home(project):
        for room in (*ROOMS, contents) if deep else ROOMS:
            for finding in _found(room, project):
                said.append(_said(finding, dry_run=dry_run))
                if not as_json:
                    print(f"{MARKS[said[-1].state]} {said[-1].what:<32} {said[-1].detail}", flush=True)
    if as_json:
        print_json({"well": all(each.state != "ill" for each in said), "findings": [vars(each) for each in said]})
    if ill := [each.what for each in said if each.state == "ill"]:
        raise Refused(
            f"not well: {', '.join(ill)}", "each line above says what to do", code="doctor.findings"
        ).after_output()


def _found(room: ModuleType, project: Project) -> Iterator[Finding]:
    """What a room finds; where it cannot look on, that is a finding too."""
    try:
        yield from room.examine(project)
    except Interrupted:
        raise
    except (ModelworksError, OSError) as error:
        yield ill(room.__name__.rpartition(".")[2], _told(error))


def _said(finding: Finding, *, dry_run: bool) -> Said:
    if finding.state != "sick":
        return Said(finding.what, finding.state, redacted(finding.detail))
    assert finding.remedy is not None
    if dry_run:
        return Said(finding.what, "would mend", finding.detail)
    try:
        return Said(finding.what, "mended", f"{finding.detail}: {finding.remedy()}")
    except Interrupted:
        raise
    except (ModelworksError, OSError) as error:
        return Said(finding.what, "ill", f"{finding.detail}: {_told(error)}")


def _told(error: ModelworksError | OSError) -> str:
    if isinstance(error, ModelworksError):
        return f"{error.message}: {error.hint}"
    return f"{redacted(str(error))}: mend that, and ask the doctor again"


@contextmanager
def _home(project: Project) -> Iterator[None]:
    project.make_private_folders()
    yield


@contextmanager
def _home_elsewhere() -> Iterator[None]:
    """To import Prefect makes its home."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = folder
        yield
