"""`make kill-sweep`: kill a run at every fault point, run again, and check all invariants.

The fault points are those that an undisturbed run passes, and those that only a run after a kill passes (reconcile,
settle), for which the earlier kill is repeated first. Each attempt starts from a project right before the fault point's
stage. The sweep fails on a violation, and on a fault point in the source that no run passes.
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
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import PIPELINES, FaultWorkspace, Pipeline, passed
from pipelines.commands import REPOSITORY, Outcome

from modelworks.data import dataset_format
from modelworks.fault_injection import points
from modelworks.pipeline.plan import STAGES
from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

SOURCES = [REPOSITORY / "src" / "modelworks", REPOSITORY / "tasks", REPOSITORY / "flows"]
ELSEWHERE = {
    "forget": "`modelworks forget`, killed by test_faults_data.py",
    "page": "a report that is rendered again, killed by test_flows_mutations.py",
    "rows": "`modelworks trace --row`, killed here",
}
"""Fault points that `modelworks run` does not pass: what passes them, and where it is killed."""
PROMOTION_AREAS = ("registration", "audit_log", "production")


@dataclass(frozen=True)
class Row:
    """The result of one kill."""

    kind: str
    place: str
    killed: str
    """The killed process."""
    next_run: str
    violations: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "; ".join(self.violations) or "0"
        return f"{self.kind:<12} {self.place:<38} {self.killed:<14} {self.next_run:<58} {verdict}"


class Sweep:
    """All kills of one pipeline, at fault points that were not swept before."""

    def __init__(self, workspace: FaultWorkspace, act: str, known: Set[str] = frozenset()) -> None:
        """
        Args:
            workspace: in the state before the pipeline.
            act: a name; "first" starts from an empty project.
            known: fault points that were swept before.
        """
        self.workspace, self._act, self._known = workspace, act, known
        self._trace = workspace.root.with_name("trace")
        self.places: list[str] = []
        """Fault points of an undisturbed run, in order."""
        self.seen: set[str] = set()
        """Fault points that any run has passed."""
        self.later: dict[str, tuple[str, str]] = {}
        """Fault points that only a run after a kill passes, with the stage before which it starts and the earlier
        kill's fault point, which is empty if the kill before the stage is enough."""
        self.reference: Reference

    def prepare(self) -> None:
        """Save the states after an undisturbed run and right before each stage."""
        self.workspace.save(self._state(STAGES[0]))
        outcome = self.workspace.run(trace=self._trace, alone=self._act == "first")
        assert outcome.code == 0, outcome.stderr
        self.reference = reference(self.workspace, outcome)
        self.places = self._passed()
        found = self._violations([outcome])
        assert not found, found
        self.workspace.save(self._state("end"))
        self.workspace.restore(self._state(STAGES[0]))
        for stage in STAGES[1:]:
            killed = self.workspace.run(fault=f"stage.before[{stage}]")
            assert killed.killed, killed.stderr
            self.workspace.save(self._state(stage))

    def rows(self, chosen: str = "") -> Iterator[Row]:
        """Kill at every fault point whose name contains `chosen`."""
        stage = STAGES[0]
        for place in self.places:
            if place.startswith("stage.before"):
                stage = place[len("stage.before[") : -1]
            if chosen in place and place not in self._known:
                yield self._kill_at(stage, place)
            if place == f"stage.after[{stage}]":  # later fault points are passed on the way to the next stage too
                stage = STAGES[min(STAGES.index(stage) + 1, len(STAGES) - 1)]
        for place, (stage, first) in list(self.later.items()):
            if chosen in place and place not in self._known:
                yield self._kill_at(stage, place, first)

    def _kill_at(self, stage: str, place: str, first: str = "") -> Row:
        """Restore the state before the stage, kill (after an earlier kill if needed) and run again."""
        self.workspace.restore(self._state(stage))
        alone = "[prefect]" in place
        outcomes: list[Outcome] = []
        if first:
            outcomes.append(self.workspace.run(fault=first))
        outcomes.append(self.workspace.run(fault=place, trace=self._trace, alone=alone))
        reached = self._passed()
        if place not in reached:
            return Row(self.workspace.pipeline.kind, place, "never", "", ("it was not reached",))
        outcomes.append(self.workspace.run(trace=self._trace, alone=alone))
        after = self._passed()
        if not first:
            self.later |= {
                each: (stage, "" if each in reached else place) for each in (*reached, *after) if each not in self.seen
            }
        self.seen |= {*reached, *after}
        found = self._violations(outcomes)
        killed, kind = _killed(place, outcomes[-2]), self.workspace.pipeline.kind
        return Row(kind, place, killed, _describe(outcomes[-1]), tuple(found))

    def rows_of_a_command(self, place: str, *arguments: str) -> Iterator[Row]:
        """Kill another command than `run` in a finished project; repeat it, and run."""
        self.end()
        killed = self.workspace.command(*arguments, fault=place)
        again, outcome = self.workspace.command(*arguments), self.workspace.run()
        found = self._violations([outcome]) if killed.killed else ["it was not reached"]
        if again.code:
            found.append(f"{arguments[0]} ended with {again.code}: {again.stderr[-200:]}")
        yield Row(self.workspace.pipeline.kind, place, arguments[0], _describe(outcome), tuple(found))

    def end(self) -> None:
        """Restore the state after the undisturbed run."""
        self.workspace.restore(self._state("end"))

    def _violations(self, outcomes: list[Outcome]) -> list[str]:
        return violations(Aftermath(self.workspace, outcomes, self.reference, 1 if self._act == "first" else 2))

    def _state(self, stage: str) -> str:
        return f"{self._act}-{stage}"

    def _passed(self) -> list[str]:
        places = passed(self._trace)
        self._trace.unlink(missing_ok=True)
        if not self.seen:
            self.seen |= set(places)
        return places


def _killed(place: str, outcome: Outcome) -> str:
    if outcome.killed:
        return "the run"
    child = "its server" if "[prefect]" in place else "its trainer"
    return f"{child} ({outcome.code})"


def _describe(outcome: Outcome) -> str:
    """Describe what the next run did, stage by stage."""
    if outcome.code:
        return f"ended with {outcome.code}"
    stages = outcome.object["stages"]
    return " ".join(
        f"{name[:3]}:{became}" for name, became in stages.items() if became not in ("cached", "verified")
    ) or ("nothing to do")


def second_version(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with another seed and a gate that accepts it."""
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


def _some_row(workspace: FaultWorkspace) -> str:
    return str(dataset_format.read(workspace.project.data / workspace.pipeline.dataset, ["id"])["id"][0])


def never_passed(seen: set[str]) -> list[str]:
    """Return fault points in the source that no run passed."""
    names = {place.partition("[")[0] for place in seen}
    return [point for point in points(SOURCES) if point not in names and point.partition(".")[0] not in ELSEWHERE]


def main() -> int:
    """Sweep and print the table."""
    parser = argparse.ArgumentParser(prog="make kill-sweep")
    parser.add_argument("--kinds", nargs="+", default=list(PIPELINES), choices=list(PIPELINES))
    parser.add_argument("--only", default="", help="only fault points whose name contains this")
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
                workspace = FaultWorkspace(Path(name) / kind, PIPELINES[kind], url)
                workspace.clear()
                with workspace.prestarted():
                    first = Sweep(workspace, "first")
                    rows += _shown(first, options.only)
                    for place in ("rows.before_keep", "rows.after_keep"):
                        if options.only in place:
                            rows += _printed(
                                first.rows_of_a_command(place, "trace", "--row", _some_row(workspace), "--json")
                            )
                    first.end()
                    # Replacing a version differs from the first promotion: sweep those fault points again.
                    known = {place for place in first.seen if place.partition(".")[0] not in PROMOTION_AREAS}
                    second = Sweep(workspace.with_pipeline(second_version(workspace.pipeline)), "second", known)
                    rows += _shown(second, options.only)
                seen |= first.seen | second.seen
        finally:
            server.stop()
    bad = [row for row in rows if row.violations]
    missing = [] if options.only else never_passed(seen)
    print(
        f"\n{len({row.place for row in rows})} fault points, {len(rows)} kills, {len(bad)} with violations,"
        f" {time.monotonic() - started:.0f} s on {psutil.cpu_count()} cores"
    )
    if missing:
        print(f"in the source, but never passed: {', '.join(missing)}")
    return 1 if bad or missing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
