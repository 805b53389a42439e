"""Check the embedded databases for damage, wrong schemas and interrupted migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from modelworks.cli.doctor.finding import Finding, failing, ok, repairable
from modelworks.errors import Interrupted, ModelworksError
from modelworks.project import Project
from modelworks.registry.backend import relocation_internals as relocation
from modelworks.registry.backend import tracking_store
from modelworks.servers import prefect_server
from modelworks.sqlite import databases

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Check each database that this project keeps."""
    path = tracking_store.database_of(project.tracking_uri)
    if path is None:
        yield ok("MLflow's database", f"managed by {project.tracking_uri}")
    else:
        finding = _database(
            "MLflow's database", path, "mlflow", tracking_store.build_schema, f"mlflow db upgrade sqlite:///{path}"
        )
        yield finding
        if finding.state == "ok" and path.exists():
            yield _artifact_location(path)
    if project.prefect_url:
        yield ok("Prefect's database", f"managed by {project.prefect_url}")
    else:
        path = project.prefect_home / "prefect.db"
        upgrade = f"PREFECT_API_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///{path} prefect server database upgrade"
        yield _database("Prefect's database", path, "prefect", prefect_server.build_schema, upgrade)


def _artifact_location(path: Path) -> Finding:
    """Check the artifact paths in the store, which are wrong in a moved or copied project."""
    what = "place of MLflow's artifacts"
    roots = relocation.other_roots(path)
    if not roots:
        return ok(what, str(path.with_name("artifacts")))

    def repair() -> str:
        return f"{relocation.relocate(path)} paths now point to {path.with_name('artifacts')}"

    return repairable(what, f"the project was moved or copied: the store names {', '.join(roots)}", repair)


def _database(what: str, path: Path, library: str, build: Callable[[Path], None], upgrade: str) -> Finding:
    if not path.exists():
        return ok(what, "not created yet")
    try:
        fault = databases.fault_of(path, library, build)
    except Interrupted:
        raise
    except ModelworksError as error:
        return failing(what, f"{error.message}: {error.hint}")
    if not fault:
        return ok(what, str(path))
    return failing(
        what,
        f"{path}: {fault}: restore a backup, or move the file away to get a new database; "
        f"to migrate a database of an older {library}, copy it first and run: {upgrade}",
    )
