"""The tracking store: an SQLite file, created complete, or a server that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput, Unavailable
from modelworks.registry.backend import relocation_internals as relocation
from modelworks.registry.backend.error_mapping import is_remote, mlflow_command, said_clearly, tracking_errors
from modelworks.registry.backend.idempotent_create import sent_once
from modelworks.registry.backend.mlflow_internals import hush
from modelworks.registry.backend.mlflow_sqlite_internals import REVISION, read_revision, set_default_location
from modelworks.sqlite.databases import make_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project

__all__ = ["build_schema", "check_place", "connect", "database_of", "ensure_experiment", "is_made"]


def connect(project: Project) -> MlflowClient:
    """Return a client of the project's tracking store and registry; create an embedded store that is missing.

    Raises:
        BadInput: the tracking address is of a kind that is not supported, or refuses our credentials.
        Unavailable: the server does not answer, the schema is that of another MLflow, or the project was moved.
        Corrupt: the SQLite file is damaged.
    """
    uri = project.tracking_uri
    path = database_of(uri)
    if path is None:
        _demand_server(uri)
    from mlflow import MlflowClient

    hush()
    with tracking_errors(uri):
        if path is not None:
            # MLflow's own creation is not atomic: a kill in it leaves a file that never starts again.
            artifacts = _artifacts(path).as_uri()
            make_database(path, "mlflow", build_schema, lambda built: set_default_location(built, artifacts))
            _check_revision(path)
            check_place(path)
        client = MlflowClient(uri)
        with sent_once():  # a server that does not answer is reported after one time-out
            client.search_experiments(max_results=1)
    return client


def is_made(project: Project) -> bool:
    """Return whether there is a store already; creates nothing."""
    path = database_of(project.tracking_uri)
    return path is None or path.exists()


@said_clearly
def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment of that name; create it when there is none.

    Raises:
        BadInput: somebody deleted it.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # A relative location would depend on the folder a process starts in. A server knows its own.
        path = database_of(client.tracking_uri)
        location = f"{_artifacts(path).as_uri()}/{name}" if path else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
            assert found is not None
    if found.lifecycle_stage == "deleted":
        raise BadInput(
            f"the MLflow experiment {name!r} was deleted",
            mlflow_command(client.tracking_uri, "experiments", "restore", "--experiment-id", found.experiment_id),
            code="mlflow.experiment-deleted",
        )
    return str(found.experiment_id)


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def check_place(path: Path) -> None:
    """Compare where a store in a file names its artifacts with where it is itself.

    Raises:
        Unavailable: the project was moved or copied, and the store still names the other place.
    """
    roots = relocation.other_roots(path)
    if roots:
        raise Unavailable(
            f"the project was moved or copied: {path} names artifacts at {roots[0]}",
            "run `modelworks doctor`: it lets the store name them here",
            code="project.moved",
        )


def build_schema(path: Path) -> None:
    """Create the schema in a new file by MLflow's own migrations, with its default experiment."""
    from mlflow import MlflowClient

    hush()
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)


def _demand_server(uri: str) -> None:
    if uri.startswith("postgres"):
        raise BadInput(
            "MLFLOW_TRACKING_URI is the address of a PostgreSQL database, which is used through an MLflow server",
            "start the server of mlflow/compose.yaml on it, and set MLFLOW_TRACKING_URI to the server's http(s) address",
            code="mlflow.address-postgresql",
        )
    if not is_remote(uri):
        raise BadInput(
            f"MLFLOW_TRACKING_URI: {uri} is neither sqlite:///FILE nor the http(s) address of a server",
            "start a server on that store (mlflow/README.md says how) and name the server",
            code="mlflow.address",
        )


def _check_revision(path: Path) -> None:
    """Compare the schema with that of the supported MLflow, before MLflow can start to migrate it in place."""
    found = read_revision(path)
    if found != REVISION:
        raise Unavailable(
            f"{path} has the schema of another MLflow (revision {found}, this one needs {REVISION})",
            f"copy the file to a safe place, then: mlflow db upgrade sqlite:///{path}; "
            "if it is newer, install the MLflow that made it",
            code="mlflow.schema",
        )


def _artifacts(path: Path) -> Path:
    return path.with_name("artifacts")
