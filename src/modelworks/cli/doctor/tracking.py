"""Check the tracking store for runs of dead processes and unrecorded changes of production."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelworks.cli.doctor.finding import Finding, failing, ok, repairable
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry.locks.machine import choose_lock, warning

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Check the lock, the runs, the models and the production aliases."""
    from modelworks.registry.backend.tracking_store import connect, database_of, store_exists

    path = database_of(project.tracking_uri)
    try:
        yield _lock(project)
        if not store_exists(project):
            yield ok("MLflow's store", "not created yet")
            return
        client = connect(project)
    except Interrupted:
        raise
    except ModelworksError as error:
        if path is None:  # the check of the database reports errors of an embedded one
            yield failing("MLflow's store", f"{error.message}: {error.hint}")
        return
    yield ok("MLflow's store", project.tracking_uri)
    # Moves first: they are MLflow runs too, and must be settled before runs of dead processes are closed.
    yield _moves(project, client)
    yield _left_open(client)
    yield _strays(client)


def _lock(project: Project) -> Finding:
    """Check which processes the lock for registration and promotion excludes."""
    lock = choose_lock(project)
    flaw = warning(project, lock)
    return failing("lock of the store", flaw) if flaw else ok("lock of the store", lock.kind)


def _moves(project: Project, client: MlflowClient) -> Finding:
    from modelworks.registry.production import audit_log
    from modelworks.registry.production.promotion import settle

    names = [model.name for model in client.search_registered_models()]
    left = {
        name: number
        for name in names
        if (number := sum(move.owner is not None and move.owner.is_dead for move in audit_log.unfinished(client, name)))
    }
    if not left:
        return ok("unfinished promotions", "none")

    def repair() -> str:
        lock = choose_lock(project)
        return f"{sum(len(settle(client, project, name, lock=lock)) for name in left)} settled"

    return repairable("unfinished promotions", f"{sum(left.values())} of {', '.join(left)}", repair)


def _strays(client: MlflowClient) -> Finding:
    """Report production aliases that differ from the audit log.

    Only a person knows which one is right.
    """
    from modelworks.registry.production.alias_drift import all_alias_drift

    strays = all_alias_drift(client)
    if not strays:
        return ok("production", "as in the audit logs")
    return failing("production", "; ".join(f"{each.message} ({each.hint})" for each in strays))


def _left_open(client: MlflowClient) -> Finding:
    from modelworks.registry.tracking.stale_runs import close, left_open

    what = "runs of dead processes"
    left = left_open(client, [each.name for each in client.search_experiments()])
    if not left.runs and not left.models:
        return ok(what, "none open")
    found = f"{len(left.runs)} runs, {len(left.models)} models"

    def repair() -> str:
        close(client, left)
        return f"{found}: closed"

    return repairable(what, f"{found} left open", repair)
