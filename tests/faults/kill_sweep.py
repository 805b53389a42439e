"""`make kill-sweep`: a run killed with -9 at every place that the code names, then the next run and all invariants.

The places are those that an undisturbed run comes by, and those that only a run after a kill does (reconcile, settle):
to these belongs the kill that leads there. The sweep starts each attempt from a project that stands right before the
place's stage. It fails on a violation, and on a place in the source that nothing came by.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from commands import REPOSITORY, Outcome
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import PIPELINES, Ground, Pipeline, passed

from modelworks.data import dataset_format
from modelworks.fault_injection import points
from modelworks.pipeline.plan import STAGES
from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

SOURCES = [REPOSITORY / "src" / "modelworks", REPOSITORY / "tasks", REPOSITORY / "flows"]
ELSEWHERE = {
    "forget": "`modelworks forget`, killed by test_faults_data.py",
    "page": "a page that is rendered again, killed by test_flows_mutations.py",
    "rows": "`modelworks trace --row`, killed here",
}
"""Areas that no run comes by: what does, and where that is killed."""
MOVING = ("registration", "journal", "production")


@dataclass(frozen=True)
class Row:
    """What came of one kill."""

    kind: str
    place: str
    killed: str
    """The process that was."""
    next_run: str
    violations: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "; ".join(self.violations) or "0"
        return f"{self.kind:<12} {self.place:<38} {self.killed:<14} {self.next_run:<58} {verdict}"


class Sweep:
    """All kills of one pipeline, at places that were not swept before."""

    def __init__(self, ground: Ground, act: str, known: Set[str] = frozenset()) -> None:
        """
        Args:
            ground: standing where the pipeline begins.
            act: a name; "first" begins with nothing.
            known: places that were swept before.
        """
        self.ground, self._act, self._known = ground, act, known
        self._trace = ground.root.with_name("trace")
        self.places: list[str] = []
        """Those of an undisturbed run, in order."""
        self.seen: set[str] = set()
        """Those that any run has come by."""
        self.later: dict[str, tuple[str, str]] = {}
        """Those that only a run after a kill came by, with the stage before which it began, and that kill's place; that
        is empty where the kill before the stage was enough."""
        self.reference: Reference

    def prepare(self) -> None:
        """The undisturbed run, whose end is kept as such, and a project right before each stage."""
        self.ground.keep(self._state(STAGES[0]))
        outcome = self.ground.run(trace=self._trace, alone=self._act == "first")
        assert outcome.code == 0, outcome.stderr
        self.reference = reference(self.ground, outcome)
        self.places = self._passed()
        found = self._violations([outcome])
        assert not found, found
        self.ground.keep(self._state("end"))
        self.ground.put_back(self._state(STAGES[0]))
        for stage in STAGES[1:]:
            killed = self.ground.run(fault=f"stage.before[{stage}]")
            assert killed.killed, killed.stderr
            self.ground.keep(self._state(stage))

    def rows(self, chosen: str = "") -> Iterator[Row]:
        """A kill at every place whose name contains the chosen words."""
        stage = STAGES[0]
        for place in self.places:
            if place.startswith("stage.before"):
                stage = place[len("stage.before[") : -1]
            if chosen in place and place not in self._known:
                yield self._kill_at(stage, place)
            if place == f"stage.after[{stage}]":  # what follows is passed on the way to the next stage as well
                stage = STAGES[min(STAGES.index(stage) + 1, len(STAGES) - 1)]
        for place, (stage, first) in list(self.later.items()):
            if chosen in place and place not in self._known:
                yield self._kill_at(stage, place, first)

    def _kill_at(self, stage: str, place: str, first: str = "") -> Row:
        """Put back what stands before the stage, kill there (after an earlier kill, if one leads there), run again."""
        self.ground.put_back(self._state(stage))
        alone = "[prefect]" in place
        outcomes: list[Outcome] = []
        if first:
            outcomes.append(self.ground.run(fault=first))
        outcomes.append(self.ground.run(fault=place, trace=self._trace, alone=alone))
        reached = self._passed()
        if place not in reached:
            return Row(self.ground.pipeline.kind, place, "never", "", ("it was not reached",))
        outcomes.append(self.ground.run(trace=self._trace, alone=alone))
        after = self._passed()
        if not first:
            self.later |= {
                each: (stage, "" if each in reached else place) for each in (*reached, *after) if each not in self.seen
            }
        self.seen |= {*reached, *after}
        found = self._violations(outcomes)
        return Row(self.ground.pipeline.kind, place, _who(place, outcomes[-2]), _told(outcomes[-1]), tuple(found))

    def rows_of_a_verb(self, place: str, *arguments: str) -> Iterator[Row]:
        """Kill another verb than `run`, in a finished project; then ask it again, and run."""
        self.end()
        killed = self.ground.command(*arguments, fault=place)
        again, outcome = self.ground.command(*arguments), self.ground.run()
        found = self._violations([outcome]) if killed.killed else ["it was not reached"]
        if again.code:
            found.append(f"{arguments[0]} ended with {again.code}: {again.stderr[-200:]}")
        yield Row(self.ground.pipeline.kind, place, arguments[0], _told(outcome), tuple(found))

    def end(self) -> None:
        """Put back what the undisturbed run came to."""
        self.ground.put_back(self._state("end"))

    def _violations(self, outcomes: list[Outcome]) -> list[str]:
        return violations(Aftermath(self.ground, outcomes, self.reference, 1 if self._act == "first" else 2))

    def _state(self, stage: str) -> str:
        return f"{self._act}-{stage}"

    def _passed(self) -> list[str]:
        places = passed(self._trace)
        self._trace.unlink(missing_ok=True)
        if not self.seen:
            self.seen |= set(places)
        return places


def _who(place: str, outcome: Outcome) -> str:
    if outcome.killed:
        return "the run"
    child = "its server" if "[prefect]" in place else "its trainer"
    return f"{child} ({outcome.code})"


def _told(outcome: Outcome) -> str:
    """What the next run did, stage by stage: the same outcomes together."""
    if outcome.code:
        return f"ended with {outcome.code}"
    stages = outcome.object["stages"]
    return " ".join(
        f"{name[:3]}:{became}" for name, became in stages.items() if became not in ("cached", "verified")
    ) or ("nothing to do")


def second_version(pipeline: Pipeline) -> Pipeline:
    """The same with another seed: its model is compared with production, and replaces it whatever the gate finds."""
    return replace(pipeline, changes={**pipeline.changes, "train.seed": "1", "gate.max_regression": "0.9"})


def _shown(sweep: Sweep, chosen: str) -> list[Row]:
    sweep.prepare()
    return _printed(sweep.rows(chosen))


def _printed(rows: Iterator[Row]) -> list[Row]:
    listed = []
    for row in rows:
        listed.append(row)
        print(row, flush=True)
    return listed


def _some_row(ground: Ground) -> str:
    return str(dataset_format.read(ground.project.data / ground.pipeline.dataset, ["id"])["id"][0])


def never_passed(seen: set[str]) -> list[str]:
    """Places in the source that nothing came by."""
    names = {place.partition("[")[0] for place in seen}
    return [point for point in points(SOURCES) if point not in names and point.partition(".")[0] not in ELSEWHERE]


def main() -> int:
    """Sweep and print the table."""
    parser = argparse.ArgumentParser(prog="make kill-sweep")
    parser.add_argument("--kinds", nargs="+", default=list(PIPELINES), choices=list(PIPELINES))
    parser.add_argument("--only", default="", help="places whose name contains this")
    options = parser.parse_args()
    started, rows, seen = time.monotonic(), [], set()
    with tempfile.TemporaryDirectory(prefix="kill-sweep-") as name:
        service = Project(Path(name) / "server")
        service.make_private_folders()
        server = start_server(service)
        try:
            url = server.wait()
            print(f"{'pipeline':<12} {'killed at':<38} {'who':<14} {'what the next run did':<58} violations")
            for kind in options.kinds:
                ground = Ground(Path(name) / kind, PIPELINES[kind], url)
                ground.clear()
                with ground.warmed():
                    first = Sweep(ground, "first")
                    rows += _shown(first, options.only)
                    for place in ("rows.before_keep", "rows.after_keep"):
                        if options.only in place:
                            rows += _printed(first.rows_of_a_verb(place, "trace", "--row", _some_row(ground), "--json"))
                    first.end()
                    # A move from one version to another is not the same as the first one: those places once more.
                    known = {place for place in first.seen if place.partition(".")[0] not in MOVING}
                    second = Sweep(ground.with_pipeline(second_version(ground.pipeline)), "second", known)
                    rows += _shown(second, options.only)
                seen |= first.seen | second.seen
        finally:
            server.stop()
    bad = [row for row in rows if row.violations]
    forgotten = [] if options.only else never_passed(seen)
    print(
        f"\n{len({row.place for row in rows})} places, {len(rows)} kills, {len(bad)} with violations,"
        f" {time.monotonic() - started:.0f} s on {psutil.cpu_count()} cores"
    )
    if forgotten:
        print(f"in the source, but never passed: {', '.join(forgotten)}")
    return 1 if bad or forgotten or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
