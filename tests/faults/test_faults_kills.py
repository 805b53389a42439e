"""A pipeline killed at the critical fault points in turn ends like an undisturbed one.

`make kill-sweep` does this for every fault point separately, and for a transformer too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.invariants import Aftermath, Reference, reference, violations
from faults.kill_sweep import never_passed, second_version
from faults.projects import PIPELINES, FaultWorkspace, passed
from pipelines.commands import Outcome

pytestmark = pytest.mark.slow

FAULT_POINTS = (
    "data.after_add",
    "store.before_rename[checkpoints]",
    "package.after_upload[model]",
    "registration.after_version",
    "audit_log.after_intent",
    "production.after_alias",
)
"""Data pinned but not pushed, a checkpoint not renamed, a pending model, a version without a verdict, an intent, and an
alias that the audit log does not have."""


@dataclass(frozen=True)
class Chain:
    """The outcomes of one pipeline killed at all of these."""

    workspace: FaultWorkspace
    reference: Reference
    kills: tuple[Outcome, ...]
    last: Outcome
    found: tuple[str, ...]
    """Violations after the last run."""
    passed: frozenset[str]
    """Fault points that any of its runs passed, including the run of a second version."""


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    workspace, trace = FaultWorkspace(folder, PIPELINES["cnn"], server_url), folder / "trace"
    workspace.clear()
    with workspace.prestarted():
        return _through(workspace, trace)


def _through(workspace: FaultWorkspace, trace: Path) -> Chain:
    undisturbed = workspace.run(trace=trace)
    assert undisturbed.code == 0, undisturbed.stderr
    expected = reference(workspace, undisturbed)
    workspace.clear()
    kills = tuple(workspace.run(fault=place, trace=trace) for place in FAULT_POINTS)
    last = workspace.run(trace=trace)
    found = violations(Aftermath(workspace, [*kills, last], expected))
    workspace.save("healed")
    replaced = workspace.with_pipeline(second_version(workspace.pipeline)).run(trace=trace)
    assert replaced.code == 0, replaced.stderr
    workspace.restore("healed")
    return Chain(workspace, expected, kills, last, tuple(found), frozenset(passed(trace)))


def test_every_kill_happened(chain: Chain) -> None:
    for place, outcome in zip(FAULT_POINTS, chain.kills, strict=True):
        assert place in chain.passed, f"no run passed {place}"
        # The run restarts a killed trainer, which is killed again, until the run gives up.
        assert outcome.killed or (outcome.code == 4 and "killed by SIGKILL" in outcome.stderr), outcome.stderr


def test_all_invariants_hold_after_the_next_run(chain: Chain) -> None:
    assert chain.found == ()


def test_there_is_one_version_and_one_done_move(chain: Chain) -> None:
    from modelworks.registry.production import audit_log

    found = Aftermath(chain.workspace, [chain.last], chain.reference)
    assert [int(each.version) for each in found.versions] == [1]
    done, abandoned = audit_log.history(found.client, "digits-cnn")
    assert (done.state, done.before, done.after) == ("done", 0, 1)
    assert abandoned.state == "abandoned"


def test_every_fault_point_in_the_source_is_passed(chain: Chain) -> None:
    assert never_passed(set(chain.passed)) == []
