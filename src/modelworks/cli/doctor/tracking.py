"""What dead processes left open in the tracking store, and what became of production without us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelworks.cli.doctor.finding import Finding, ill, sick, well
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry.locks.machine import choose_lock, warning

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Runs, models and moves; a store that is not made yet has none."""
    from modelworks.registry.backend.tracking_store import connect, database_of, store_exists

    path = database_of(project.tracking_uri)
    try:
        yield _lock(project)
        if not store_exists(project):
            yield well("MLflow's store", "not made yet")
            return
        client = connect(project)
    except Interrupted:
        raise
    except ModelworksError as error:
        if path is None:  # what is wrong with a database of our own is said of it already
            yield ill("MLflow's store", f"{error.message}: {error.hint}")
        return
    yield well("MLflow's store", project.tracking_uri)
    # Moves first: those of dead processes are runs as well, and must be settled before they are closed.
    yield _moves(project, client)
    yield _left_open(client)
    yield _strays(client)


def _lock(project: Project) -> Finding:
    """Who is kept out while one promotes or registers."""
    lock = choose_lock(project)
    flaw = warning(project, lock)
    return ill("lock of the store", flaw) if flaw else well("lock of the store", lock.kind)


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
        return well("unfinished promotions", "none")

    def remedy() -> str:
        lock = choose_lock(project)
        return f"{sum(len(settle(client, project, name, lock=lock)) for name in left)} settled"

    return sick("unfinished promotions", f"{sum(left.values())} of {', '.join(left)}", remedy)


def _strays(client: MlflowClient) -> Finding:
    """Which of the two was meant only a person knows."""
    from modelworks.registry.production.alias_drift import all_alias_drift

    strays = all_alias_drift(client)
    if not strays:
        return well("production", "as the journals say")
    return ill("production", "; ".join(f"{each.message} ({each.hint})" for each in strays))


def _left_open(client: MlflowClient) -> Finding:
    from modelworks.registry.tracking.stale_runs import close, left_open

    what = "runs of dead processes"
    left = left_open(client, [each.name for each in client.search_experiments()])
    if not left.runs and not left.models:
        return well(what, "none open")
    found = f"{len(left.runs)} runs, {len(left.models)} models begun"

    def remedy() -> str:
        close(client, left)
        return f"{found}: closed"

    return sick(what, f"{found} and left", remedy)
