"""Each invariant can be violated, by a change to a finished project."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from faults import invariants
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import PIPELINES, SECRETS, FaultWorkspace
from pipelines.commands import Outcome
from samples.artifacts import local_path

from modelworks.registry.tracking import tags as lineage

VIOLATIONS: dict[str, Callable[[Aftermath], Any]] = {}


def violates(name: str) -> Callable[[Callable[[Aftermath], Any]], Callable[[Aftermath], Any]]:
    """Name the invariant that a change violates."""

    def keep(change: Callable[[Aftermath], Any]) -> Callable[[Aftermath], Any]:
        VIOLATIONS[name] = change
        return change

    return keep


@violates("I1")
def _register_twice(found: Aftermath) -> None:
    first = found.versions[0]
    found.client.create_model_version(first.name, first.source, first.run_id, tags=first.tags)


@violates("I2")
def _report_a_missing_version(found: Aftermath) -> Aftermath:
    last = found.outcomes[-1]
    return replace(found, outcomes=[replace(last, stdout=last.stdout.replace('"version": 1', '"version": 9'))])


@violates("I3")
def _flip_a_bit_of_production(found: Aftermath) -> None:
    weights = local_path(found.production.source) / "artifacts" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@violates("I4")
def _move_the_alias_outside_modelworks(found: Aftermath) -> None:
    first = found.versions[0]
    tags = {name: value for name, value in first.tags.items() if name != lineage.PIPELINE_KEY}
    found.client.create_model_version(first.name, first.source, first.run_id, tags={**tags, lineage.PIPELINE_KEY: "x"})
    found.client.set_registered_model_alias(first.name, "production", "2")


@violates("I5")
def _leave_a_run_open(found: Aftermath) -> None:
    found.client.create_run("0")


@violates("I6")
def _expect_other_weights(found: Aftermath) -> Aftermath:
    return replace(found, reference=replace(found.reference, weights="0" * 64))


@violates("I7")
def _change_the_data(found: Aftermath) -> None:
    path = found.workspace.project.data / "opinions" / "examples.parquet"
    path.write_bytes(path.read_bytes() + b"x")


@violates("I8")
def _write_a_secret(found: Aftermath) -> None:
    found.client.set_tag(found.versions[0].run_id, "note", f"with {SECRETS['TEAM_TOKEN']}")


@violates("I9")
def _fail_without_a_message(found: Aftermath) -> Aftermath:
    silent = Outcome(1, "", "Traceback (most recent call last):\nKeyError: 'a'\n", 1.0)
    return replace(found, outcomes=[silent, *found.outcomes])


@violates("I10")
def _forget_the_revision(found: Aftermath) -> None:
    with closing(sqlite3.connect(found.workspace.project.mlflow / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'half'")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> tuple[FaultWorkspace, Outcome, Reference]:
    """A finished, undisturbed pipeline."""
    workspace = FaultWorkspace(tmp_path_factory.mktemp("finished"), PIPELINES["transformer"], server_url)
    workspace.clear()
    outcome = workspace.run()
    assert outcome.code == 0, outcome.stderr
    workspace.save("finished")
    return workspace, outcome, reference(workspace, outcome)


@pytest.mark.slow
def test_no_violation_in_an_unchanged_project(finished: tuple[FaultWorkspace, Outcome, Reference]) -> None:
    workspace, outcome, undisturbed = finished
    workspace.restore("finished")
    assert violations(Aftermath(workspace, [outcome], undisturbed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"I{number}" for number in range(1, 11)])
def test_each_invariant_can_be_violated(finished: tuple[FaultWorkspace, Outcome, Reference], name: str) -> None:
    workspace, outcome, undisturbed = finished
    workspace.restore("finished")
    found = Aftermath(workspace, [outcome], undisturbed)
    found = VIOLATIONS[name](found) or found
    assert name in {each.partition(":")[0] for invariant in invariants.INVARIANTS for each in invariant(found)}


def test_there_is_a_change_for_each_invariant() -> None:
    assert set(VIOLATIONS) == {f"I{number}" for number in range(1, len(invariants.INVARIANTS) + 1)}
