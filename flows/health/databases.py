"""The embedded databases: damaged, of another version, or migrated half-way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from flows import server
from flows.health.finding import Finding, ill, sick, well
from modelworks import repair
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry import store

__all__ = ["MLFLOW", "PREFECT", "examine"]

MLFLOW = repair.Library(
    name="mlflow", holds="experiments", build=store.build_schema, upgrade=store.upgrade_schema, settle=store.settle
)
PREFECT = repair.Library(name="prefect", holds="flow", build=server.build_schema, upgrade=server.upgrade_schema)


def examine(project: Project) -> Iterator[Finding]:
    """Whether each database that this project keeps is whole."""
    path = store.database_of(project.tracking_uri)
    if path is None:
        yield well("MLflow's database", f"kept by {project.tracking_uri}")
    else:
        yield _database("MLflow's database", path, MLFLOW)
    if project.prefect_url:
        yield well("Prefect's database", f"kept by {project.prefect_url}")
    else:
        yield _database("Prefect's database", project.prefect_home / "prefect.db", PREFECT)


def _database(what: str, path: Path, library: repair.Library) -> Finding:
    if not path.exists():
        return well(what, "not made yet")
    try:
        fault = repair.fault_of(path, library)
    except Interrupted:
        raise
    except ModelworksError as error:
        return ill(what, f"{error.message}: {error.hint}")
    return sick(what, f"{path}: {fault}", partial(repair.mend, path, library)) if fault else well(what, str(path))
