"""`make race`: let processes change a model's production concurrently, then check the audit log.

    python tests/programs/race.py [--processes 8] [--attempts 1000] [--lock flock|none|postgresql://...] [--json]

The processes run the code of a promotion, except the check of golden predictions, which takes seconds. Each attempt
reads the production version, chooses another one and promotes it on condition that production is unchanged; some
attempts roll back. Afterwards the audit log must be one chain. Without a lock it is not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import Refused, Unavailable
from modelworks.files.locks import Lock
from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.locks.machine import machine_lock
from modelworks.registry.locks.postgres_advisory import AdvisoryLock
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import tags
from modelworks.registry.versions import queries
from modelworks.settings import QUIET

if TYPE_CHECKING:
    from modelworks.registry.production.audit_log import Move

NAME, VERSIONS = "raced", (1, 2, 3, 4)
ONE_ROLLBACK_IN = 100
"""Number of attempts per rollback. A rollback reads the complete audit log, so many would be slow."""


@dataclass(frozen=True)
class NoLock:
    """A lock that excludes nobody."""

    kind: str = "none"

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        return nullcontext()


def main(arguments: Sequence[str]) -> int:
    """Run the race in a temporary directory and print the result.

    Return 1 if there are violations.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--attempts", type=int, default=1000, help="per process")
    parser.add_argument("--lock", default="flock")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    os.environ.update(QUIET)
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        table = race(Project(Path(folder)), options.processes, options.attempts, options.lock)
    if options.json:
        print(json.dumps(table))
    else:
        for name, value in table.items():
            print(f"{name:<22} {'; '.join(value[:5]) or 'none' if isinstance(value, list) else value}")
    return int(bool(table["violations"]))


def race(project: Project, processes: int, attempts: int, kind: str) -> dict[str, Any]:
    """Let processes change production concurrently; return the counts and the violations."""
    import mlflow  # noqa: F401  # once, before the forks

    locks: dict[str, Callable[[], Lock]] = {"flock": lambda: machine_lock(project), "none": NoLock}
    lock = locks.get(kind, lambda: AdvisoryLock(kind))()
    project.make_private_folders()
    # In a child, because database connections must not be shared across a fork.
    _wait([_fork(lambda: _prepare(project))])
    ready, gate = os.pipe(), os.pipe()
    workers = [
        _fork(lambda number=number: _work(project, attempts, lock, number, ready[1], gate))
        for number in range(processes)
    ]
    for _ in workers:
        os.read(ready[0], 1)
    started = time.monotonic()
    os.close(gate[1])  # starts all workers
    _wait(workers)
    seconds = time.monotonic() - started
    outcomes: Counter[str] = Counter()
    reported: list[tuple[int, int]] = []
    for number in range(processes):
        result = json.loads(_result_file(project, number).read_text())
        outcomes.update(result["outcomes"])
        reported += [(before, after) for before, after in result["moves"]]
    client = tracking_store.connect(project)
    moves = audit_log.history(client, NAME)
    found = violations(moves, queries.production(client, NAME), reported)
    if outcomes["collided"]:  # concurrent writes, which a lock prevents
        found.append(f"the store rejected {outcomes['collided']} concurrent writes")
    return {
        "lock": lock.kind,
        "processes": processes,
        "attempts": sum(outcomes.values()),
        **{name: outcomes[name] for name in ("moved", "changed meanwhile", "nothing to do", "unavailable", "collided")},
        "audit log entries": len(moves),
        "violations": found,
        "seconds": round(seconds, 1),
        "attempts per second": round(sum(outcomes.values()) / seconds, 1),
    }


def violations(moves: Sequence[Move], alias: int, reported: Sequence[tuple[int, int]]) -> list[str]:
    """Return a message for each inconsistency of an audit log."""
    chain = sorted((move for move in moves if move.state == "done"), key=lambda move: (move.number, move.when))
    found = [f"{move.kind} {move.before} to {move.after} was left open" for move in moves if move.state == "intent"]
    current = 0
    for number, move in enumerate(chain, 1):
        if move.number != number:
            found.append(f"the move that should be number {number} is number {move.number}")
        if move.before != current:
            found.append(f"move {number} is from {move.before} to {move.after}, but production was {current}")
        current = move.after
    if alias != current:
        found.append(f"production is {alias}, but the audit log ends at {current}")
    logged = Counter((move.before, move.after) for move in chain)
    missing, extra = Counter(reported) - logged, logged - Counter(reported)
    found += [f"the move {move} was reported {count} times more than logged" for move, count in missing.items()]
    found += [f"the move {move} was logged {count} times more than reported" for move, count in extra.items()]
    return found


def _prepare(project: Project) -> None:
    """Create a model whose versions are all accepted by the gate."""
    client = tracking_store.connect(project)
    client.create_registered_model(NAME)
    for _ in VERSIONS:
        client.create_model_version(NAME, "file:///nowhere", tags={tags.DECISION: "promote"})


def _work(project: Project, attempts: int, lock: Lock, number: int, ready: int, gate: tuple[int, int]) -> None:
    """Run one process's attempts after the start signal."""
    from mlflow.exceptions import MlflowException

    draw, client = random.Random(number), tracking_store.connect(project)
    outcomes: Counter[str] = Counter()
    moves: list[tuple[int, int]] = []
    named: dict[str, Any] = {"reason": "race", "who": f"process {number}", "lock": lock, "proof": lambda *_: {}}
    queries.production(client, NAME)
    os.close(gate[1])
    os.write(ready, b".")
    os.read(gate[0], 1)
    for _ in range(attempts):
        try:
            before = queries.production(client, NAME)
            if before and not draw.randrange(ONE_ROLLBACK_IN):
                move = promotion.rollback(client, project, NAME, **named)
            else:
                target = draw.choice([version for version in VERSIONS if version != before])
                move = promotion.promote(client, project, NAME, target, expected=before, evidence={}, **named)
        except Refused as error:
            outcomes["changed meanwhile" if error.code == "production.changed" else "nothing to do"] += 1
        except Unavailable:
            outcomes["unavailable"] += 1
        except MlflowException:
            outcomes["collided"] += 1
        else:
            outcomes["moved" if move is not None else "nothing to do"] += 1
            moves += [(move.before, move.after)] if move is not None else []
    _result_file(project, number).write_text(json.dumps({"outcomes": outcomes, "moves": moves}))


def _result_file(project: Project, number: int) -> Path:
    return project.root / f"{number}.json"


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _wait(children: Sequence[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise SystemExit(f"processes ended with {codes}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
