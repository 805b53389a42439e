"""`python -m faults.bad_disks`: whole runs on disks that are full or fail, and beside a database that is locked.

After each comes a run with all well again, and then all ten invariants. Needs root, for the mounts, and strace.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from commands import COMMAND, DEADLINE, Outcome
from faults.disks import small_disk
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import PIPELINES, Ground, Pipeline

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server
from modelworks.settings import QUIET

LONG = {"train.epochs": "12", "train.checkpoint_steps": "10"}
"""Enough checkpoints for something to happen between two of them."""
BEGUN = {"ingested": "stage.before[validate]", "validated": "stage.before[train]"}
"""States of the project that a case begins with, and where the run was killed that made each."""


@dataclass(frozen=True)
class Case:
    """A fault and the run in which it happens."""

    number: int
    """In the catalogue."""
    name: str
    disturb: Callable[[Ground, ExitStack], Outcome]
    """Runs; all is well again when it returns. What the stack holds, a mount, stays for the next run."""
    code: int = 4
    """What the disturbed run exits with."""
    begins: str = ""
    """A state of BEGUN; a fresh project otherwise."""


def long_pipeline() -> Pipeline:
    """The digits, with many checkpoints."""
    cnn = PIPELINES["cnn"]
    return replace(cnn, changes={**cnn.changes, **LONG})


def has_checkpoint(ground: Ground) -> bool:
    return any((ground.project.state / "training").glob("*/checkpoints/step-*"))


def is_training(ground: Ground) -> bool:
    return any((ground.project.state / "training").glob("*/job.json"))


@contextmanager
def once(condition: Callable[[Ground], bool], ground: Ground, act: Callable[[], object]) -> Iterator[None]:
    """Act, beside what happens in the block, as soon as a condition holds."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if condition(ground):
                act()
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def full(
    folder: Callable[[Project], Path], when: Callable[[Ground], bool], what: str = "bytes"
) -> Callable[[Ground, ExitStack], Outcome]:
    """A folder's disk has no room from some moment on."""

    def disturb(ground: Ground, stack: ExitStack) -> Outcome:
        disk = stack.enter_context(small_disk(folder(ground.project)))
        with once(when, ground, lambda: disk.fill(what)):
            outcome = ground.run()
        disk.make_room()
        return outcome

    return disturb


def full_cache(ground: Ground, stack: ExitStack) -> Outcome:
    """DVC's cache has room for some of the data."""
    disk = stack.enter_context(small_disk(ground.root / ".dvc", megabytes=1))
    disk.fill()
    disk.give_back(60_000)
    outcome = ground.run()
    disk.make_room()
    return outcome


def failing(calls: str) -> Callable[[Ground, ExitStack], Outcome]:
    """Some calls of the system fail with EIO, in all processes of a run."""

    def disturb(ground: Ground, _stack: ExitStack) -> Outcome:
        started, log = time.monotonic(), ground.root.with_name("calls")
        done = subprocess.run(
            [*_strace(log, calls, "--seccomp-bpf"), COMMAND, *ground.pipeline.arguments()],
            cwd=ground.root,
            env=ground.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert "INJECTED" in log.read_text(), "no call failed"
        return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    return disturb


def failing_checkpoint(ground: Ground, stack: ExitStack) -> Outcome:
    """The trainer's syncs fail from its first checkpoint on; those of the trainer that is started next do not."""
    log = ground.root.with_name("calls")

    def attach() -> None:
        trainer = next(each for each in psutil.process_iter(["cmdline", "cwd"]) if _is_trainer(each, ground.root))
        stack.enter_context(subprocess.Popen([*_strace(log, "fsync"), "-p", str(trainer.pid)]))

    with once(has_checkpoint, ground, attach):
        outcome = ground.run()
    assert "INJECTED" in log.read_text(), "no call failed"
    return outcome


def locked(seconds: float) -> Callable[[Ground, ExitStack], Outcome]:
    """Another process has MLflow's database from the beginning of the training on; 0 for as long as the run lasts."""

    def disturb(ground: Ground, _stack: ExitStack) -> Outcome:
        over = threading.Event()

        def hold() -> None:
            path = ground.project.mlflow / "mlflow.db"
            with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                over.wait(seconds or DEADLINE)

        with once(is_training, ground, hold):
            outcome = ground.run()
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
    Case(27, "MLflow's SQLite locked for ever", locked(0)),
)


def attempt(case: Case, ground: Ground, expected: Reference) -> tuple[Outcome, Outcome, list[str]]:
    """A disturbed run, the run after it, and what is violated then."""
    ground.put_back(case.begins or "fresh")
    with ExitStack() as stack:
        disturbed = case.disturb(ground, stack)
        after = ground.run()
        found = violations(Aftermath(ground, [disturbed, after], expected))
    if disturbed.code != case.code:
        found.append(f"the disturbed run exits with {disturbed.code}, not {case.code}")
    return disturbed, after, found


def main() -> int:
    """Print a line per case; 1 if anything is violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="words that the cases' names hold; all cases by default")
    only = parser.parse_args().only
    os.environ.update(QUIET, MLFLOW_SQLALCHEMYSTORE_POOLCLASS="NullPool")
    violated = 0
    with tempfile.TemporaryDirectory() as name:
        server = start_server(_served(Path(name) / "server"))
        ground = Ground(Path(name), long_pipeline(), server.wait())
        with ground.warmed():
            expected = _prepare(ground)
            for case in CASES:
                if not only or any(word in case.name for word in only):
                    disturbed, after, found = attempt(case, ground, expected)
                    violated += bool(found)
                    print(_row(case, disturbed, after, found), flush=True)
        server.stop()
    return int(violated > 0)


def _served(root: Path) -> Project:
    project = Project(root)
    project.make_private_folders()
    return project


def _prepare(ground: Ground) -> Reference:
    """Keep the states that cases begin with; what an undisturbed run comes to."""
    ground.clear()
    ground.keep("fresh")
    for state, place in BEGUN.items():
        assert ground.run(fault=place).killed
        ground.keep(state)
        ground.put_back("fresh")
    undisturbed = ground.run()
    assert undisturbed.code == 0, undisturbed.stderr
    return reference(ground, undisturbed)


def _row(case: Case, disturbed: Outcome, after: Outcome, found: list[str]) -> str:
    said = next(iter(disturbed.complaint), "done").replace(tempfile.gettempdir(), "")
    train = after.object["stages"]["train"] if after.code == 0 else "-"
    return (
        f"{case.number:<3} {case.name:<42} exit {disturbed.code} in {disturbed.seconds:3.0f} s, then {after.code} "
        f"(train {train}), violations: {'; '.join(found) or 0}\n      {re.sub(r'[0-9a-f]{40,}', 'KEY', said)}"
    )


if __name__ == "__main__":
    sys.exit(main())
