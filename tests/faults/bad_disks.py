"""`python -m faults.bad_disks`: runs with full or failing disks, or a locked database.

Each is followed by a run without the fault, then all invariants are checked. Needs root, for mounts, and strace.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psutil
from faults.disk_conditions import BEGUN, Condition, has_checkpoint, is_training, long_pipeline, once
from faults.disks import small_disk
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import FaultWorkspace
from pipelines.commands import COMMAND, DEADLINE, Outcome

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server
from modelworks.settings import QUIET


@dataclass(frozen=True)
class Case:
    """A fault during a run."""

    number: int
    """Number of the fault."""
    name: str
    disturb: Callable[[FaultWorkspace, ExitStack], Outcome]
    """Run with the fault, which has ended on return. Mounts on the stack stay for the next run."""
    code: int = 4
    """Expected exit code of the run with the fault."""
    begins: str = ""
    """A state of BEGUN; empty for a new project."""


def full(
    folder: Callable[[Project], Path], when: Condition, what: str = "bytes"
) -> Callable[[FaultWorkspace, ExitStack], Outcome]:
    """Fill a folder's disk when a condition becomes true."""

    def disturb(workspace: FaultWorkspace, stack: ExitStack) -> Outcome:
        disk = stack.enter_context(small_disk(folder(workspace.project)))
        with once(when, workspace, lambda: disk.fill(what)):
            outcome = workspace.run()
        disk.free_all()
        return outcome

    return disturb


def full_cache(workspace: FaultWorkspace, stack: ExitStack) -> Outcome:
    """Leave room in DVC's cache for only some of the data."""
    disk = stack.enter_context(small_disk(workspace.root / ".dvc", megabytes=1))
    disk.fill()
    disk.free(60_000)
    outcome = workspace.run()
    disk.free_all()
    return outcome


def failing(calls: str) -> Callable[[FaultWorkspace, ExitStack], Outcome]:
    """Fail system calls with EIO in all processes of a run."""

    def disturb(workspace: FaultWorkspace, _stack: ExitStack) -> Outcome:
        started, log = time.monotonic(), workspace.root.with_name("calls")
        result = subprocess.run(
            [*_strace(log, calls, "--seccomp-bpf"), COMMAND, *workspace.pipeline.arguments()],
            cwd=workspace.root,
            env=workspace.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert "INJECTED" in log.read_text(), "no call failed"
        return Outcome(result.returncode, result.stdout, result.stderr, time.monotonic() - started)

    return disturb


def failing_checkpoint(workspace: FaultWorkspace, stack: ExitStack) -> Outcome:
    """Fail syncs of the trainer, but not of the restarted one, after the first checkpoint."""
    log = workspace.root.with_name("calls")

    def attach() -> None:
        trainer = next(each for each in psutil.process_iter(["cmdline", "cwd"]) if _is_trainer(each, workspace.root))
        stack.enter_context(subprocess.Popen([*_strace(log, "fsync"), "-p", str(trainer.pid)]))

    with once(has_checkpoint, workspace, attach):
        outcome = workspace.run()
    assert "INJECTED" in log.read_text(), "no call failed"
    return outcome


def locked(seconds: float) -> Callable[[FaultWorkspace, ExitStack], Outcome]:
    """Lock MLflow's database when training starts, for some seconds or (0) for the whole run."""

    def disturb(workspace: FaultWorkspace, _stack: ExitStack) -> Outcome:
        over = threading.Event()

        def hold() -> None:
            path = workspace.project.mlflow / "mlflow.db"
            with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                over.wait(seconds or DEADLINE)

        with once(is_training, workspace, hold):
            outcome = workspace.run()
            over.set()
        return outcome

    return disturb


def _strace(log: Path, calls: str, *options: str) -> list[str]:
    return ["strace", "-f", "-qq", *options, "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]


def _is_trainer(process: psutil.Process, root: Path) -> bool:
    return "modelworks.training" in (process.info["cmdline"] or ()) and process.info["cwd"] == str(root)


CASES = (
    Case(16, "fsync fails in the stage store", failing("fsync"), begins="ingested"),
    Case(16, "fsync fails in one trainer's checkpoints", failing_checkpoint, code=0),
    Case(16, "fdatasync fails in MLflow's SQLite", failing("fdatasync"), begins="validated"),
    Case(22, "no space while checkpoints are written", full(lambda project: project.state, has_checkpoint)),
    Case(23, "no space in MLflow's folder", full(lambda project: project.mlflow, is_training), begins="validated"),
    Case(24, "no space in DVC's cache", full_cache),
    Case(26, "no inodes while checkpoints are written", full(lambda project: project.state, has_checkpoint, "files")),
    Case(27, "MLflow's SQLite locked for 8 s", locked(8), code=0),
    Case(27, "MLflow's SQLite locked for the whole run", locked(0)),
)


def attempt(case: Case, workspace: FaultWorkspace, expected: Reference) -> tuple[Outcome, Outcome, list[str]]:
    """Run with the fault and again without; return both outcomes and the violations."""
    workspace.restore(case.begins or "fresh")
    with ExitStack() as stack:
        disturbed = case.disturb(workspace, stack)
        after = workspace.run()
        found = violations(Aftermath(workspace, [disturbed, after], expected))
    if disturbed.code != case.code:
        found.append(f"the run with the fault exits with {disturbed.code}, not {case.code}")
    return disturbed, after, found


def main() -> int:
    """Print a line per case; return 1 if there is a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="words in the names of cases; all cases by default")
    only = parser.parse_args().only
    os.environ.update(QUIET, MLFLOW_SQLALCHEMYSTORE_POOLCLASS="NullPool")
    violated = 0
    with tempfile.TemporaryDirectory() as name:
        server = start_server(_served(Path(name) / "server"))
        workspace = FaultWorkspace(Path(name), long_pipeline(), server.wait())
        with workspace.prestarted():
            expected = _prepare(workspace)
            for case in CASES:
                if not only or any(word in case.name for word in only):
                    disturbed, after, found = attempt(case, workspace, expected)
                    violated += bool(found)
                    print(_row(case, disturbed, after, found), flush=True)
        server.stop()
    return int(violated > 0)


def _served(root: Path) -> Project:
    project = Project(root)
    project.make_private_folders()
    return project


def _prepare(workspace: FaultWorkspace) -> Reference:
    """Save the initial states of the cases; return the reference of an undisturbed run."""
    workspace.clear()
    workspace.save("fresh")
    for state, place in BEGUN.items():
        assert workspace.run(fault=place).killed
        workspace.save(state)
        workspace.restore("fresh")
    undisturbed = workspace.run()
    assert undisturbed.code == 0, undisturbed.stderr
    return reference(workspace, undisturbed)


def _row(case: Case, disturbed: Outcome, after: Outcome, found: list[str]) -> str:
    message = next(iter(disturbed.complaint), "done").replace(tempfile.gettempdir(), "")
    train = after.object["stages"]["train"] if after.code == 0 else "-"
    return (
        f"{case.number:<3} {case.name:<42} exit {disturbed.code} in {disturbed.seconds:3.0f} s, then {after.code} "
        f"(train {train}), violations: {'; '.join(found) or 0}\n      {re.sub(r'[0-9a-f]{40,}', 'KEY', message)}"
    )


if __name__ == "__main__":
    sys.exit(main())
