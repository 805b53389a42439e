"""The tracking store: an SQLite file or a PostgreSQL database, made once and whole, or a server known to answer."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput, Corrupt, Unavailable
from modelworks.registry import relocation
from modelworks.registry.backend import postgres_schema
from modelworks.registry.backend.error_mapping import is_remote, mlflow_command, said_clearly, tracking_errors
from modelworks.registry.backend.postgres_connection import is_near, is_postgres, place
from modelworks.sqlite.databases import make_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project

__all__ = [
    "build_schema",
    "check_place",
    "connect",
    "database_of",
    "ensure_experiment",
    "is_made",
    "read_revision",
    "settle",
    "upgrade_schema",
]

ANSWER_SECONDS = 6
"""How long a server may take to say that it is alive."""


def connect(project: Project) -> MlflowClient:
    """A client of the project's tracking store and registry; makes a store in a file or a database that has none.

    Raises:
        BadInput: the tracking address is of a kind that is not supported, or refuses our credentials.
        Unavailable: the server or database does not answer, the store's schema is not this MLflow's, or its project was
            moved.
        Corrupt: the SQLite file is damaged.
    """
    uri = project.tracking_uri
    path = database_of(uri)
    if path is None and not is_remote(uri) and not is_postgres(uri):
        raise BadInput(
            f"MLFLOW_TRACKING_URI: {uri} is neither sqlite:///FILE nor postgresql://HOST/DATABASE nor a server's http(s)",
            "start a server on that store (mlflow/README.md says how) and name the server",
        )
    from mlflow import MlflowClient

    _hush()
    with tracking_errors(uri):
        if path is not None:
            # MLflow's own creation is not atomic: a kill in it leaves a file that never starts again.
            make_database(path, "mlflow", build_schema, lambda aside: settle(aside, path))
            _check_revision(read_revision(path), str(path), f"sqlite:///{path}", "the file")
            check_place(path)
        elif is_postgres(uri):
            made = postgres_schema.prepare(uri, _first_root(project), _make_tables)
            _check_revision(made.revision, place(uri), "$MLFLOW_TRACKING_URI", "the database")
        else:
            _check_alive(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def is_made(project: Project) -> bool:
    """Whether there is a store already; asks, and makes nothing.

    Raises:
        BadInput, Unavailable: a database refuses or does not answer.
    """
    path = database_of(project.tracking_uri)
    if path is not None:
        return path.exists()
    return not is_postgres(project.tracking_uri) or postgres_schema.read(project.tracking_uri) is not None


@said_clearly
def ensure_experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment of that name, made when there is none.

    Raises:
        BadInput: somebody deleted it.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # A relative location would depend on the folder a process starts in. A server knows its own.
        root = _root(client)
        location = f"{root}/{name}" if root else None
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
        )
    return str(found.experiment_id)


def database_of(uri: str) -> Path | None:
    """The file of an SQLite address; None for any other."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def read_revision(path: Path) -> str:
    """The schema revision of an SQLite store.

    Raises:
        Corrupt: the file is not a store, or one whose creation was cut off.
        Unavailable: another process locks it.
    """
    way_out = f"move {path} away (a new store is made), or put a backup in its place"
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20)
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise Unavailable(f"{path}: {error}", "wait until the other process is done and run again") from error
        raise Corrupt(f"{path} is not a complete MLflow store: {error}", way_out) from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(f"{path} cannot be read: {error}", way_out) from error
    if len(rows) != 1:
        raise Corrupt(f"{path} is not a complete MLflow store: it names {len(rows)} schema revisions", way_out)
    return str(rows[0][0])


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
        )


def _check_alive(uri: str) -> None:
    """Ask the server's health address once, with MLflow's own credentials and certificates."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    hint = "start the server or mend MLFLOW_TRACKING_URI; unset it to use the store in this project"
    try:
        answer = http_request(get_default_host_creds(uri), "/health", "GET", timeout=ANSWER_SECONDS, max_retries=0)
    except (MlflowException, OSError) as error:
        raise Unavailable(f"the MLflow server {uri} does not answer", hint) from error
    if answer.status_code in (401, 403):
        verify_rest_response(answer, "/health")  # raises, and is then said like any refusal
    if answer.status_code != 200:
        raise Unavailable(f"the MLflow server {uri} answers {answer.status_code} {answer.reason}", hint)


def build_schema(path: Path) -> None:
    """Create the schema in a new file by MLflow's own migrations, and its default experiment."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    _hush()

    def without_sync(connection: sqlite3.Connection, _record: object) -> None:
        # Nobody sees the file before it is synced as a whole; a sync per migration takes half of the time.
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", without_sync)
    try:
        SqlAlchemyStore(f"sqlite:///{path}", _artifacts(path).as_uri())._dispose_engine()  # noqa: SLF001  # MLflow has no public way
    finally:
        event.remove(Engine, "connect", without_sync)


def upgrade_schema(path: Path) -> None:
    """Bring an older store to this MLflow's schema, in place and not atomically: to be called on a copy."""
    import sqlalchemy
    from mlflow.store.db.utils import _upgrade_db

    _hush()
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        _upgrade_db(engine)
    finally:
        engine.dispose()


def settle(aside: Path, path: Path) -> None:
    """Make the default experiment of a new store, which will be called `path`, one of that place, made now."""
    artifacts, now = _artifacts(path), int(time.time() * 1000)
    with contextlib.closing(sqlite3.connect(aside)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?",
            (f"{artifacts.as_uri()}/0", now, now),
        )


def _check_revision(found: str, where: str, address: str, what: str) -> None:
    """Compare the store's schema with the one this MLflow was written for."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    head = _get_latest_schema_revision()
    if found != head:
        raise Unavailable(
            f"{where} has the schema of another MLflow (revision {found}, this one needs {head})",
            f"copy {what} to a safe place, then: mlflow db upgrade {address}; if it is newer, install its MLflow",
        )


def _make_tables(uri: str, root: str) -> None:
    """Create the tables in a database, and a default experiment that says where artifacts lie."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, root)._dispose_engine()  # noqa: SLF001  # MLflow has no public way


def _first_root(project: Project) -> str:
    """Where the artifacts of a database's store lie that is made now: beside this project if all of it is here."""
    if project.artifact_root:
        return project.artifact_root
    return (project.mlflow / "artifacts").as_uri() if is_near(project.tracking_uri) else ""


def _root(client: MlflowClient) -> str:
    """Where a store without a server keeps artifacts; empty where a server knows.

    Beside its file, or in a database's case where its default experiment has them: the same for all who share it.
    """
    path = database_of(client.tracking_uri)
    if path is not None:
        return _artifacts(path).as_uri()
    if is_postgres(client.tracking_uri):
        return str(client.get_experiment("0").artifact_location).removesuffix("/0")
    return ""


def _hush() -> None:
    """What its migrations say is of no use to anybody. To be called when MLflow is imported: that sets the level."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It prints the traceback of a full or locked database, and raises as well: our error says it in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _artifacts(path: Path) -> Path:
    return path.with_name("artifacts")
