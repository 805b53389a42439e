"""The invariants after every fault and the next run. Each function yields its violations."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.database_heads import mlflow_head, prefect_head
from faults.projects import SECRETS, FaultWorkspace
from pipelines.commands import Outcome
from samples.artifacts import local_path

from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.files.digest import folder_digests, json_digest
from modelworks.models import serialization
from modelworks.registry.packaging.integrity import EVIDENCE, FILES
from modelworks.registry.production import audit_log
from modelworks.registry.tracking import tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Reference:
    """The result of an undisturbed run."""

    weights: str
    """SHA-256 of the production model's safetensors."""
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Aftermath:
    """A project after a fault and the run that followed it."""

    workspace: FaultWorkspace
    outcomes: Sequence[Outcome]
    """The outcomes of all commands, in order."""
    reference: Reference
    expected_moves: int = 1
    """Number of moves in the audit log of an undisturbed run."""

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        # After a project was restored the file at this path is another one: connections must not be reused.
        os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        return MlflowClient(self.workspace.project.tracking_uri)

    @property
    def versions(self) -> list[ModelVersion]:
        return list(self.client.search_model_versions(f"name = '{self.workspace.pipeline.model}'"))

    @property
    def production(self) -> ModelVersion:
        return self.client.get_model_version_by_alias(self.workspace.pipeline.model, "production")


def reference(workspace: FaultWorkspace, outcome: Outcome) -> Reference:
    """Return the reference of an undisturbed run that has promoted its version."""
    found = Aftermath(workspace, [outcome], Reference("", {}))
    return Reference(_weights(found), outcome.object["metrics"])


def one_version_per_key(found: Aftermath) -> Iterator[str]:
    """I1: at most one version per idempotency key."""
    for key, number in Counter(each.tags.get(tags.PIPELINE_KEY, "none") for each in found.versions).items():
        if number > 1:
            yield f"I1: {number} versions of the key {key[:12]}"


def reported_versions_exist(found: Aftermath) -> Iterator[str]:
    """I2: every version that was reported as registered exists."""
    known = {int(each.version) for each in found.versions}
    for outcome in found.outcomes:
        if outcome.stdout.startswith("{") and outcome.code == 0:
            reported = outcome.object["version"]
            if reported not in known:
                yield f"I2: version {reported} was reported, there are {sorted(known)}"


def production_is_intact(found: Aftermath) -> Iterator[str]:
    """I3: production can be resolved and loaded, and has the registered bytes."""
    try:
        version = found.production
    except Exception as error:  # any error in resolving the alias is a violation
        yield f"I3: production does not resolve: {error}"
        return
    folder = local_path(version.source)
    listing = json.loads((_artifacts(found, version) / EVIDENCE / FILES).read_text())
    if json_digest(listing) != version.tags[tags.DIGEST]:
        yield "I3: the listing of the package does not match the digest in the version's tag"
    if folder_digests(folder) != listing:
        yield "I3: the package does not match its listing"
        return
    try:
        serialization.load(folder / "artifacts" / "model")
    except Exception as error:  # any error in loading is a violation
        yield f"I3: production does not load: {error}"


def every_move_is_accepted_and_logged_once(found: Aftermath) -> Iterator[str]:
    """I4: the alias moves only to accepted versions, and each move has exactly one done entry."""
    moves = list(reversed(audit_log.history(found.client, found.workspace.pipeline.model)))
    done = [move for move in moves if move.state == "done"]
    decisions = {int(each.version): each.tags.get(tags.DECISION) for each in found.versions}
    if open_ones := [move for move in moves if move.state == "intent"]:
        yield f"I4: {len(open_ones)} moves are neither done nor abandoned"
    if len(done) != found.expected_moves:
        yield f"I4: {len(done)} done moves, not {found.expected_moves}"
    before = 0
    for move in done:
        if move.before != before:
            yield f"I4: a move from {move.before} follows one to {before}"
        if decisions.get(move.after) != "promote" and not move.overridden:
            yield f"I4: version {move.after} became production, its verdict is {decisions.get(move.after)}"
        if not (move.who and move.why):
            yield "I4: a move lacks who or why"
        before = move.after
    aliases = found.client.get_registered_model(found.workspace.pipeline.model).aliases
    if int(aliases.get("production", 0)) != before:
        yield f"I4: production is {aliases.get('production')}, the audit log has {before}"


def no_run_is_open(found: Aftermath) -> Iterator[str]:
    """I5: no run is RUNNING and no model PENDING, since every process has ended."""
    client = found.client
    experiments = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        yield f"I5: run {run.info.run_id} is RUNNING"
    for model in client.search_logged_models(experiments):
        if model.status.name != "READY":
            yield f"I5: model {model.model_id} is {model.status}"


def result_equals_that_of_an_undisturbed_run(found: Aftermath) -> Iterator[str]:
    """I6: weights and metrics are bitwise equal to those of an undisturbed run."""
    if _weights(found) != found.reference.weights:
        yield "I6: the weights differ from those of an undisturbed run"
    if (metrics := found.outcomes[-1].object["metrics"]) != found.reference.metrics:
        yield f"I6: the metrics are {metrics}"


def data_matches_its_record(found: Aftermath) -> Iterator[str]:
    """I7: the recorded data version matches the data, which DVC has pinned and pushed."""
    project, name = found.workspace.project, found.workspace.pipeline.dataset
    actual = object_cache.listing_digest(object_cache.subtree(project.data / name))
    for version in found.versions:
        if version.tags[tags.DATA_VERSION] != actual:
            yield f"I7: version {version.version} names data {version.tags[tags.DATA_VERSION]}, there is {actual}"
        (used,) = found.client.get_run(version.run_id).inputs.dataset_inputs
        if used.dataset.digest != actual:
            yield f"I7: its run names data {used.dataset.digest}"
    pin = dvc_file.read(project)
    if pin != object_cache.listing_digest(object_cache.subtree(project.data)):
        yield f"I7: data.dvc pins {pin}"
    remote = project.state / "dvc-remote" / "files" / "md5"
    for md5 in (pin or "", *object_cache.subtree(project.data).values()):
        if not (remote / md5[:2] / md5[2:]).is_file():
            yield f"I7: DVC's remote lacks {md5}"


def no_secret_is_stored(found: Aftermath) -> Iterator[str]:
    """I8: no planted secret is in any file of the project or in any output."""
    output = "".join(outcome.stdout + outcome.stderr for outcome in found.outcomes)
    for name, secret in SECRETS.items():
        if secret in output:
            yield f"I8: {name} was printed"
        for path in found.workspace.root.rglob("*"):
            if path.is_file() and secret.encode() in path.read_bytes():
                yield f"I8: {name} is in {path.relative_to(found.workspace.root)}"


def every_failure_has_a_cause_and_a_hint(found: Aftermath) -> Iterator[str]:
    """I9: a failure has an exit code, one line each for cause and hint, and no traceback."""
    for outcome in found.outcomes:
        if "Traceback" in outcome.stderr:
            yield f"I9: a traceback: {outcome.stderr.splitlines()[-1]}"
        if outcome.code > 0:
            lines = outcome.stderr.splitlines()
            heads = [number for number, line in enumerate(lines) if re.match("(error|refused): .", line)]
            if len(heads) != 1:
                yield f"I9: {len(heads)} causes: {lines[-3:]}"
            elif not re.match(r"  \S", "".join(lines[heads[0] + 1 : heads[0] + 2])):
                yield f"I9: no hint after {lines[heads[0]]!r}"
    if found.outcomes[-1].code:
        yield f"I9: the last command ended with {found.outcomes[-1].code}: {found.outcomes[-1].stderr[-300:]}"


def databases_are_complete(found: Aftermath) -> Iterator[str]:
    """I10: the SQLite databases pass the integrity check and have the library's newest revision."""
    project = found.workspace.project
    for path, head in (
        (project.mlflow / "mlflow.db", mlflow_head),
        (project.prefect_home / "prefect.db", prefect_head),
    ):
        if not path.exists():
            continue
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            answer = connection.execute("PRAGMA integrity_check").fetchall()
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if answer != [("ok",)]:
            yield f"I10: {path.name}: {answer[0][0]}"
        if revisions != [(head(),)]:
            yield f"I10: {path.name} has the revisions {revisions}, not {head()}"


INVARIANTS: tuple[Callable[[Aftermath], Iterator[str]], ...] = (
    one_version_per_key,
    reported_versions_exist,
    production_is_intact,
    every_move_is_accepted_and_logged_once,
    no_run_is_open,
    result_equals_that_of_an_undisturbed_run,
    data_matches_its_record,
    no_secret_is_stored,
    every_failure_has_a_cause_and_a_hint,
    databases_are_complete,
)


def violations(found: Aftermath) -> list[str]:
    """Return all violations; only I9 is checked if the last run failed."""
    failed = list(every_failure_has_a_cause_and_a_hint(found))
    if found.outcomes[-1].code:
        return failed
    return [each for invariant in INVARIANTS for each in invariant(found)]


def _weights(found: Aftermath) -> str:
    path = local_path(found.production.source) / "artifacts" / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _artifacts(found: Aftermath, version: ModelVersion) -> Path:
    return local_path(found.client.get_run(version.run_id).info.artifact_uri)
