"""A pipeline killed at its nastiest places, one after the other: it still ends as if nobody had disturbed it.

`make kill-sweep` does this for every place by itself, and for a transformer as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Outcome
from faults.invariants import Aftermath, Reference, reference, violations
from faults.kill_sweep import never_passed, second_version
from faults.projects import PIPELINES, Ground, passed

NASTY = (
    "data.after_add",
    "store.before_rename[checkpoints]",
    "package.after_upload[model]",
    "registration.after_version",
    "journal.after_intent",
    "production.after_alias",
)
"""Data that is pinned but not pushed, a checkpoint without its name, a model nobody has declared whole, a version that
no verdict knows, a move that was only meant, and an alias that the journal does not explain."""


@dataclass(frozen=True)
class Chain:
    """One pipeline through all of that."""

    ground: Ground
    reference: Reference
    kills: tuple[Outcome, ...]
    last: Outcome
    found: tuple[str, ...]
    """Violations then."""
    passed: frozenset[str]
    """Places that any of its runs came by, the one that replaces the version at last included."""


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    ground, trace = Ground(folder, PIPELINES["cnn"], server_url), folder / "trace"
    ground.clear()
    with ground.warmed():
        return _through(ground, trace)


def _through(ground: Ground, trace: Path) -> Chain:
    undisturbed = ground.run(trace=trace)
    assert undisturbed.code == 0, undisturbed.stderr
    expected = reference(ground, undisturbed)
    ground.clear()
    kills = tuple(ground.run(fault=place, trace=trace) for place in NASTY)
    last = ground.run(trace=trace)
    found = violations(Aftermath(ground, [*kills, last], expected))
    ground.keep("healed")
    replaced = ground.with_pipeline(second_version(ground.pipeline)).run(trace=trace)
    assert replaced.code == 0, replaced.stderr
    ground.put_back("healed")
    return Chain(ground, expected, kills, last, tuple(found), frozenset(passed(trace)))


def test_each_kill_came(chain: Chain) -> None:
    for place, outcome in zip(NASTY, chain.kills, strict=True):
        assert place in chain.passed, f"no run came by {place}"
        # A killed trainer is started again by its run, and killed again, until the run gives up.
        assert outcome.killed or (outcome.code == 4 and "killed by SIGKILL" in outcome.stderr), outcome.stderr


def test_all_ten_invariants_hold_after_the_next_run(chain: Chain) -> None:
    assert chain.found == ()


def test_there_is_one_version_and_one_entry_in_the_journal(chain: Chain) -> None:
    from modelworks.registry.production import audit_log

    found = Aftermath(chain.ground, [chain.last], chain.reference)
    assert [int(each.version) for each in found.versions] == [1]
    done, meant = audit_log.history(found.client, "digits-cnn")
    assert (done.state, done.before, done.after) == ("done", 0, 1)
    assert meant.state == "abandoned"


def test_no_place_in_the_source_is_passed_by_nobody(chain: Chain) -> None:
    assert never_passed(set(chain.passed)) == []
