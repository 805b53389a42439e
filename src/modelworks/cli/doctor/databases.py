"""The embedded databases: damaged, of another version, or with a migration that was cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, ill, sick, well
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry.backend import relocation_internals as relocation
from modelworks.registry.backend import tracking_store
from modelworks.servers import prefect_server
from modelworks.sqlite import databases

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Whether each database that this project keeps is complete."""
    path = tracking_store.database_of(project.tracking_uri)
    if path is None:
        yield well("MLflow's database", f"kept by {project.tracking_uri}")
    else:
        finding = _database(
            "MLflow's database", path, "mlflow", tracking_store.build_schema, f"mlflow db upgrade sqlite:///{path}"
        )
        yield finding
        if finding.state == "well" and path.exists():
            yield _place(path)
    if project.prefect_url:
        yield well("Prefect's database", f"kept by {project.prefect_url}")
    else:
        path = project.prefect_home / "prefect.db"
        upgrade = f"PREFECT_API_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///{path} prefect server database upgrade"
        yield _database("Prefect's database", path, "prefect", prefect_server.build_schema, upgrade)


def _place(path: Path) -> Finding:
    """Whether the store names its artifacts where they are: a project may have been moved or copied."""
    what = "place of MLflow's artifacts"
    roots = relocation.other_roots(path)
    if not roots:
        return well(what, str(path.with_name("artifacts")))

    def remedy() -> str:
        return f"{relocation.relocate(path)} addresses name {path.with_name('artifacts')} now"

    return sick(what, f"the project was moved or copied: the store names {', '.join(roots)}", remedy)


def _database(what: str, path: Path, library: str, build: Callable[[Path], None], upgrade: str) -> Finding:
    if not path.exists():
        return well(what, "not made yet")
    try:
        fault = databases.fault_of(path, library, build)
    except Interrupted:
        raise
    except ModelworksError as error:
        return ill(what, f"{error.message}: {error.hint}")
    if not fault:
        return well(what, str(path))
    return ill(
        what,
        f"{path}: {fault}: put a backup in its place, or move it away: a new one is made; "
        f"one of an older {library} can be migrated, after copying it: {upgrade}",
    )
