"""Each of the ten invariants can fail: a finished project is spoiled in the way that it is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from commands import Outcome
from faults import invariants
from faults.invariants import Aftermath, Reference, reference, violations
from faults.projects import PIPELINES, SECRETS, Ground

from modelworks.registry.tracking import tags as lineage

SPOILED: dict[str, Callable[[Aftermath], Any]] = {}


def spoils(name: str) -> Callable[[Callable[[Aftermath], Any]], Callable[[Aftermath], Any]]:
    """Name the invariant that a way to spoil a project violates."""

    def keep(spoil: Callable[[Aftermath], Any]) -> Callable[[Aftermath], Any]:
        SPOILED[name] = spoil
        return spoil

    return keep


@spoils("I1")
def _register_twice(found: Aftermath) -> None:
    first = found.versions[0]
    found.client.create_model_version(first.name, first.source, first.run_id, tags=first.tags)


@spoils("I2")
def _report_what_is_not_there(found: Aftermath) -> Aftermath:
    last = found.outcomes[-1]
    return replace(found, outcomes=[replace(last, stdout=last.stdout.replace('"version": 1', '"version": 9'))])


@spoils("I3")
def _flip_a_bit_of_production(found: Aftermath) -> None:
    weights = invariants._folder(found.production.source) / "artifacts" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@spoils("I4")
def _move_the_alias_behind_the_journals_back(found: Aftermath) -> None:
    first = found.versions[0]
    tags = {name: value for name, value in first.tags.items() if name != lineage.PIPELINE_KEY}
    found.client.create_model_version(first.name, first.source, first.run_id, tags={**tags, lineage.PIPELINE_KEY: "x"})
    found.client.set_registered_model_alias(first.name, "production", "2")


@spoils("I5")
def _leave_a_run_open(found: Aftermath) -> None:
    found.client.create_run("0")


@spoils("I6")
def _expect_other_weights(found: Aftermath) -> Aftermath:
    return replace(found, reference=replace(found.reference, weights="0" * 64))


@spoils("I7")
def _change_the_data(found: Aftermath) -> None:
    path = found.ground.project.data / "opinions" / "examples.parquet"
    path.write_bytes(path.read_bytes() + b"x")


@spoils("I8")
def _write_a_secret(found: Aftermath) -> None:
    found.client.set_tag(found.versions[0].run_id, "note", f"with {SECRETS['TEAM_TOKEN']}")


@spoils("I9")
def _fail_without_a_word(found: Aftermath) -> Aftermath:
    silent = Outcome(1, "", "Traceback (most recent call last):\nKeyError: 'a'\n", 1.0)
    return replace(found, outcomes=[silent, *found.outcomes])


@spoils("I10")
def _forget_the_revision(found: Aftermath) -> None:
    with closing(sqlite3.connect(found.ground.project.mlflow / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'half'")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> tuple[Ground, Outcome, Reference]:
    """A pipeline that nobody disturbed."""
    ground = Ground(tmp_path_factory.mktemp("finished"), PIPELINES["transformer"], server_url)
    ground.clear()
    outcome = ground.run()
    assert outcome.code == 0, outcome.stderr
    ground.keep("finished")
    return ground, outcome, reference(ground, outcome)


def test_all_hold_where_nothing_was_spoiled(finished: tuple[Ground, Outcome, Reference]) -> None:
    ground, outcome, undisturbed = finished
    ground.put_back("finished")
    assert violations(Aftermath(ground, [outcome], undisturbed)) == []


@pytest.mark.parametrize("name", [f"I{number}" for number in range(1, 11)])
def test_each_can_fail(finished: tuple[Ground, Outcome, Reference], name: str) -> None:
    ground, outcome, undisturbed = finished
    ground.put_back("finished")
    found = Aftermath(ground, [outcome], undisturbed)
    found = SPOILED[name](found) or found
    assert name in {each.partition(":")[0] for invariant in invariants.INVARIANTS for each in invariant(found)}


def test_there_is_a_way_to_spoil_for_each() -> None:
    assert set(SPOILED) == {f"I{number}" for number in range(1, len(invariants.INVARIANTS) + 1)}
