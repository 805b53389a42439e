"""The embedded databases: damaged, of another version, or migrated half-way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, ill, sick, well
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry import relocation
from modelworks.registry.backend import tracking_store
from modelworks.servers import prefect_server
from modelworks.sqlite import repair

__all__ = ["MLFLOW", "PREFECT", "examine"]

MLFLOW = repair.Library(
    name="mlflow",
    holds="experiments",
    build=tracking_store.build_schema,
    upgrade=tracking_store.upgrade_schema,
    settle=tracking_store.settle,
)
PREFECT = repair.Library(
    name="prefect", holds="flow", build=prefect_server.build_schema, upgrade=prefect_server.upgrade_schema
)


def examine(project: Project) -> Iterator[Finding]:
    """Whether each database that this project keeps is whole."""
    path = tracking_store.database_of(project.tracking_uri)
    if path is None:
        yield well("MLflow's database", f"kept by {project.tracking_uri}")
    else:
        finding = _database("MLflow's database", path, MLFLOW)
        yield finding
        if finding.state == "well" and path.exists():
            yield _place(path)
    if project.prefect_url:
        yield well("Prefect's database", f"kept by {project.prefect_url}")
    else:
        yield _database("Prefect's database", project.prefect_home / "prefect.db", PREFECT)


def _place(path: Path) -> Finding:
    """Whether the store names its artifacts where they are: a project may have been moved or copied."""
    what = "place of MLflow's artifacts"
    roots = relocation.other_roots(path)
    if not roots:
        return well(what, str(path.with_name("artifacts")))

    def remedy() -> str:
        return f"{relocation.relocate(path)} addresses name {path.with_name('artifacts')} now"

    return sick(what, f"the project was moved or copied: the store names {', '.join(roots)}", remedy)


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
