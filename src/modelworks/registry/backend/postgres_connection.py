"""A PostgreSQL database that is spoken to directly: for its locks, or because it is the tracking store."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from modelworks.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection

__all__ = ["LOOPBACK", "end", "is_near", "is_postgres", "open_session", "place"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
CONNECT_SECONDS = 10.0


def is_postgres(uri: str) -> bool:
    """Whether an address is that of a PostgreSQL database; it may name a driver, as in postgresql+psycopg2://."""
    return uri.partition("://")[0].partition("+")[0] in ("postgresql", "postgres")


def is_near(uri: str) -> bool:
    """Whether a database is this machine's own: reached by loopback or by a socket in its file system."""
    parts = urlsplit(uri)
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    return host in ("", *LOOPBACK) or host.startswith("/")


def place(uri: str) -> str:
    """Host, port and name of a database: what of its address may be shown."""
    parts = urlsplit(uri)
    return f"{parts.hostname or 'this machine'}{':' + str(parts.port) if parts.port else ''}{parts.path}"


async def open_session(uri: str, variable: str, settings: Mapping[str, str]) -> Connection:
    """Connect.

    Args:
        uri: the address of the database.
        variable: of the environment, that holds it: to be named in errors.
        settings: of the session.

    Raises:
        BadInput: it refuses our credentials, or there is no database of that name.
        Unavailable: it does not answer.
    """
    import asyncpg

    scheme, _, rest = uri.partition("://")
    try:
        return await asyncpg.connect(
            f"{scheme.partition('+')[0]}://{rest}",
            timeout=CONNECT_SECONDS,
            statement_cache_size=0,
            server_settings={
                "application_name": f"modelworks pid {os.getpid()} on {socket.gethostname()}"[:63],
                **settings,
            },
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise BadInput(f"{variable}: {error}", "mend the address") from error
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(
            f"the database {place(uri)} does not answer: {reason}", f"start it or mend {variable}"
        ) from error


async def end(session: Connection) -> None:
    """Close a session; one that is broken already needs no closing."""
    import asyncpg

    try:
        await session.close(timeout=5)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        session.terminate()
