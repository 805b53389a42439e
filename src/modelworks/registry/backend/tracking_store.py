"""Connect to the tracking store: an SQLite file, created atomically, or a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput, Unavailable
from modelworks.registry.backend import relocation_internals as relocation
from modelworks.registry.backend.error_mapping import is_remote, maps_tracking_errors, mlflow_command, tracking_errors
from modelworks.registry.backend.idempotent_create import sent_once
from modelworks.registry.backend.mlflow_internals import silence_logs
from modelworks.registry.backend.mlflow_sqlite_internals import REVISION, read_revision, set_default_location
from modelworks.sqlite.databases import make_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project

__all__ = ["build_schema", "check_location", "connect", "database_of", "ensure_experiment", "store_exists"]


def connect(project: Project) -> MlflowClient:
    """Return a client of the project's tracking store; create an embedded store if missing.

    Raises:
        BadInput: the tracking URI is not supported, or the server rejects the credentials.
        Unavailable: the server does not answer, the schema is that of another MLflow, or the project was moved.
        Corrupt: the SQLite file is damaged.
    """
    uri = project.tracking_uri
    path = database_of(uri)
    if path is None:
        _require_server(uri)
    from mlflow import MlflowClient

    silence_logs()
    with tracking_errors(uri):
        if path is not None:
            # MLflow does not create its database atomically: a kill leaves a file that cannot be used.
            artifacts = _artifacts(path).as_uri()
            make_database(path, "mlflow", build_schema, lambda built: set_default_location(built, artifacts))
            _check_revision(path)
            check_location(path)
        client = MlflowClient(uri)
        with sent_once():  # report a server that does not answer after one timeout
            client.search_experiments(max_results=1)
    return client


def store_exists(project: Project) -> bool:
    """Return whether there is a store; create nothing."""
    path = database_of(project.tracking_uri)
    return path is None or path.exists()


@maps_tracking_errors
def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment; create it if it does not exist.

    Raises:
        BadInput: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # A relative location would depend on the working directory. A server sets its own.
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
    """Return the path in an SQLite URI; None for any other URI."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def check_location(path: Path) -> None:
    """Check that the artifact URIs in an embedded store match its location.

    Raises:
        Unavailable: the project was moved or copied, and the store has the old URIs.
    """
    roots = relocation.other_roots(path)
    if roots:
        raise Unavailable(
            f"the project was moved or copied: {path} has artifacts at {roots[0]}",
            "run `modelworks doctor`: it rewrites the addresses",
            code="project.moved",
        )


def build_schema(path: Path) -> None:
    """Create the schema and the default experiment in a new file with MLflow's migrations."""
    from mlflow import MlflowClient

    silence_logs()
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)


def _require_server(uri: str) -> None:
    if uri.startswith("postgres"):
        raise BadInput(
            "MLFLOW_TRACKING_URI is the address of a PostgreSQL database, which is used through an MLflow server",
            "start the server of mlflow/compose.yaml on it, and set MLFLOW_TRACKING_URI to the server's http(s) address",
            code="mlflow.address-postgresql",
        )
    if not is_remote(uri):
        raise BadInput(
            f"MLFLOW_TRACKING_URI: {uri} is neither sqlite:///FILE nor the http(s) address of a server",
            "start a server on that store (see mlflow/README.md) and set it to the server's address",
            code="mlflow.address",
        )


def _check_revision(path: Path) -> None:
    """Check the schema revision before MLflow can migrate the file in place."""
    found = read_revision(path)
    if found != REVISION:
        raise Unavailable(
            f"{path} has the schema of another MLflow (revision {found}, this one needs {REVISION})",
            f"copy the file to a safe place, then: mlflow db upgrade sqlite:///{path}; "
            "if it is newer, install the MLflow that created it",
            code="mlflow.schema",
        )


def _artifacts(path: Path) -> Path:
    return path.with_name("artifacts")
