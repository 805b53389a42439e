"""`make race`: processes that move production of one model at once, as fast as they can; then the journal is read.

    python tests/race.py [--processes 8] [--attempts 1000] [--lock flock|none|postgresql://...] [--json]

What runs is what a promotion runs, but for its proof: that a model says what it said takes seconds and is the same
each time, so it is handed in. Every attempt is a process's own: it looks what is production, chooses another version
and promotes it against what it saw; now and then it rolls back. Afterwards the journal must be one chain, without a
lock it is not.
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
"""Attempts: a rollback reads the whole journal, which grows all the time."""


@dataclass(frozen=True)
class NoLock:
    """The lock taken out."""

    kind: str = "none"

    def hold(self, name: str, purpose: str) -> AbstractContextManager[None]:
        return nullcontext()


def main(arguments: Sequence[str]) -> int:
    """Race in a folder of its own; print what came of it; 1 when something was violated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--attempts", type=int, default=1000, help="per process")
    parser.add_argument("--lock", default="flock")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    os.environ.update(QUIET)
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        table = race(Project(Path(folder)), given.processes, given.attempts, given.lock)
    if given.json:
        print(json.dumps(table))
    else:
        for name, value in table.items():
            print(f"{name:<22} {'; '.join(value[:5]) or 'none' if isinstance(value, list) else value}")
    return int(bool(table["violations"]))


def race(project: Project, processes: int, attempts: int, kind: str) -> dict[str, Any]:
    """Let processes move production at once; returns what happened and what was violated."""
    import mlflow  # noqa: F401  # once, before the processes part

    locks: dict[str, Callable[[], Lock]] = {"flock": lambda: machine_lock(project), "none": NoLock}
    lock = locks.get(kind, lambda: AdvisoryLock(kind))()
    project.make_private_folders()
    # In a child, as all that talks to the store: a connection must not be shared by a fork.
    _wait([_fork(lambda: _prepare(project))])
    ready, gate = os.pipe(), os.pipe()
    workers = [
        _fork(lambda number=number: _work(project, attempts, lock, number, ready[1], gate))
        for number in range(processes)
    ]
    for _ in workers:
        os.read(ready[0], 1)
    started = time.monotonic()
    os.close(gate[1])  # all begin at once
    _wait(workers)
    seconds = time.monotonic() - started
    outcomes: Counter[str] = Counter()
    reported: list[tuple[int, int]] = []
    for number in range(processes):
        answer = json.loads(_answer(project, number).read_text())
        outcomes.update(answer["outcomes"])
        reported += [(before, after) for before, after in answer["moves"]]
    client = tracking_store.connect(project)
    moves = audit_log.history(client, NAME)
    found = violations(moves, queries.production(client, NAME), reported)
    if outcomes["collided"]:  # two wrote at once, which a lock is there to prevent
        found.append(f"{outcomes['collided']} attempts met another in the store, which refused them")
    return {
        "lock": lock.kind,
        "processes": processes,
        "attempts": sum(outcomes.values()),
        **{name: outcomes[name] for name in ("moved", "changed meanwhile", "nothing to do", "unavailable", "collided")},
        "journal entries": len(moves),
        "violations": found,
        "seconds": round(seconds, 1),
        "attempts per second": round(sum(outcomes.values()) / seconds, 1),
    }


def violations(moves: Sequence[Move], alias: int, reported: Sequence[tuple[int, int]]) -> list[str]:
    """What is wrong with a history, in words."""
    chain = sorted((move for move in moves if move.state == "done"), key=lambda move: (move.number, move.when))
    found = [f"{move.kind} {move.before} to {move.after} was left open" for move in moves if move.state == "intent"]
    stands = 0
    for number, move in enumerate(chain, 1):
        if move.number != number:
            found.append(f"the move that should be number {number} is number {move.number}")
        if move.before != stands:
            found.append(f"move {number} goes from {move.before} to {move.after}, but production was {stands}")
        stands = move.after
    if alias != stands:
        found.append(f"production is {alias}, the journal ends at {stands}")
    written = Counter((move.before, move.after) for move in chain)
    missing, extra = Counter(reported) - written, written - Counter(reported)
    found += [f"the move {move} was reported {count} times more than written down" for move, count in missing.items()]
    found += [f"the move {move} was written down {count} times more than reported" for move, count in extra.items()]
    return found


def _prepare(project: Project) -> None:
    """A store with a model whose versions all have a good verdict."""
    client = tracking_store.connect(project)
    client.create_registered_model(NAME)
    for _ in VERSIONS:
        client.create_model_version(NAME, "file:///nowhere", tags={tags.DECISION: "promote"})


def _work(project: Project, attempts: int, lock: Lock, number: int, ready: int, gate: tuple[int, int]) -> None:
    """One process's attempts, when the gate opens."""
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
            outcomes["changed meanwhile" if "changed meanwhile" in error.message else "nothing to do"] += 1
        except Unavailable:
            outcomes["unavailable"] += 1
        except MlflowException:
            outcomes["collided"] += 1
        else:
            outcomes["moved" if move is not None else "nothing to do"] += 1
            moves += [(move.before, move.after)] if move is not None else []
    _answer(project, number).write_text(json.dumps({"outcomes": outcomes, "moves": moves}))


def _answer(project: Project, number: int) -> Path:
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
