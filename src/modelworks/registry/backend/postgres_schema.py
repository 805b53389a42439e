"""MLflow's tables in a PostgreSQL database that is the tracking store itself, with no server between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.registry.backend.postgres_connection import end, open_session, place
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VARIABLE", "Tables", "prepare", "read"]

VARIABLE = "MLFLOW_TRACKING_URI"
MADE = "SELECT version_num, artifact_location FROM alembic_version JOIN experiments ON experiment_id = 0"


@dataclass(frozen=True)
class Tables:
    """What a database says of itself."""

    revision: str
    """Of the schema."""
    artifacts: str
    """Where the default experiment's lie: ROOT/0. Those of the others lie beside them."""


def prepare(uri: str, root: str, make: Callable[[str, str], None]) -> Tables:
    """The tables of a database; made when there are none, once, however many start together.

    Args:
        uri: the database's address.
        root: where the artifacts of a new store are to lie; empty for not known.
        make: of address and root: creates whatever is not there. PostgreSQL takes MLflow's migrations back as one
            when they are cut off, so that there is no half of them to be found.

    Raises:
        BadInput: a driver, a root or the right to connect is missing, or a server keeps the artifacts to itself.
        Unavailable: the database does not answer.
    """
    _check_driver(uri)
    found = read(uri)
    if found is None:
        if not root:
            raise BadInput(
                f"{place(uri)} is on another machine and has no tables of MLflow yet: where are artifacts to be kept?",
                "set MLFLOW_DEFAULT_ARTIFACT_ROOT for this first time to a place that all who use the database reach, "
                "e.g. s3://bucket/folder",
            )
        with AdvisoryLock(uri, variable=VARIABLE).hold("store", "making MLflow's tables"):
            if read(uri) is None:
                make(uri, root)
        found = read(uri)
        assert found is not None
    if found.artifacts.startswith("mlflow-artifacts:"):
        raise BadInput(
            f"{VARIABLE}: the artifacts of {place(uri)} are reached through its tracking server alone",
            "name that server's http(s) address",
        )
    return found


def read(uri: str) -> Tables | None:
    """What a database has of MLflow; None for nothing, or for a creation that was cut off.

    Raises:
        BadInput, Unavailable: as `open_session`.
    """
    import asyncio

    async def ask() -> Tables | None:
        import asyncpg

        session = await open_session(uri, VARIABLE, {})
        try:
            row = await session.fetchrow(MADE)
        except asyncpg.UndefinedTableError:
            return None
        finally:
            await end(session)
        return Tables(*row) if row else None

    return asyncio.run(ask())


def _check_driver(uri: str) -> None:
    """MLflow asks SQLAlchemy for a driver when it connects, and what that says is of no use to anybody."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        dialect = make_url(uri).get_dialect()
        dialect.import_dbapi()
    except ImportError as error:
        raise BadInput(
            f"{VARIABLE} is a PostgreSQL database, and {error.name or 'its driver'} is not installed",
            "pip install 'modelworks[postgres]'",
        ) from error
    except ArgumentError as error:  # no such driver in SQLAlchemy
        raise BadInput(f"{VARIABLE}: {error}", "write it as postgresql://user@host/database") from error
    if dialect.is_async:
        raise BadInput(f"{VARIABLE}: MLflow cannot use {dialect.driver}", "write it as postgresql://user@host/database")
