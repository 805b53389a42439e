"""PostgreSQL advisory locks, shared by machines, in the database of `MODELWORKS_LOCK_URL`."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.errors import BadInput, Unavailable
from modelworks.files.locks import LOCK_HELD_HINT, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection

__all__ = ["AdvisoryLock"]

VARIABLE = "MODELWORKS_LOCK_URL"
CONNECT_SECONDS = 10.0

KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Detect within half a minute that the holder's machine has lost power."""
CHECK_SECONDS = 10.0

HOLDER = """
SELECT application_name, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = $1
"""


@dataclass(frozen=True)
class AdvisoryLock:
    """A lock held by its own session, so that the server releases it when the holder dies.

    The URL must be that of the database or of a pooler in session mode: transaction mode (PgBouncer's `transaction`)
    does not keep the session.
    """

    url: str = field(repr=False)  # it may hold a password
    seconds: float = PATIENCE

    def __post_init__(self) -> None:
        # The scheme may include a driver, as in postgresql+psycopg2://.
        if self.url.partition("://")[0].partition("+")[0] not in ("postgresql", "postgres"):
            raise BadInput(
                f"{VARIABLE} is not the address of a PostgreSQL database",
                "e.g. postgresql://user@host/mlflow: the database that the tracking server uses; or unset it",
                code="lock.address",
            )

    @property
    def kind(self) -> str:
        return f"PostgreSQL advisory lock, among all who use {_place(self.url)}"

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[None]:
        """Hold the lock of a name for the block.

        Raises:
            BadInput: the database rejects the credentials.
            Unavailable: it does not answer, another session holds the lock for too long, or the connection was lost
                in the block, which then may not have been exclusive.
        """
        import asyncio

        # A separate event loop, which need not run while the lock is held.
        with asyncio.Runner() as runner:
            session = runner.run(self._acquire(name, purpose))
            try:
                yield
                runner.run(self._require_held(session, purpose))
            finally:
                runner.run(_end(session))  # ends the session, which releases the lock

    async def _acquire(self, name: str, purpose: str) -> Connection:
        import asyncpg

        session = await self._connect()
        key = _key(name)
        try:
            await session.execute("SELECT pg_advisory_lock($1)", key)
        except asyncpg.LockNotAvailableError:
            who = await session.fetchrow(HOLDER, key)
            await _end(session)
            holder = f"{who[0]} since {who[1]} UTC" if who else "another session"
            raise Unavailable(
                f"another process is {purpose} already: {holder}", LOCK_HELD_HINT, code="lock.held"
            ) from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(
                f"the lock in {_place(self.url)} is not available: {error}", "run again", code="lock.unavailable"
            ) from error
        return session

    async def _connect(self) -> Connection:
        import asyncpg

        scheme, _, rest = self.url.partition("://")
        who = f"modelworks pid {os.getpid()} on {socket.gethostname()}"[:63]
        settings = {"application_name": who, "lock_timeout": f"{self.seconds * 1000:.0f}", **KEEPALIVE}
        try:
            return await asyncpg.connect(
                f"{scheme.partition('+')[0]}://{rest}",
                timeout=CONNECT_SECONDS,
                statement_cache_size=0,
                server_settings=settings,
            )
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise BadInput(f"{VARIABLE}: {error}", "correct the address", code="lock.address") from error
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"the database {_place(self.url)} does not answer: {reason}",
                f"start it or correct {VARIABLE}",
                code="lock.unavailable",
            ) from error

    async def _require_held(self, session: Connection, purpose: str) -> None:
        """Raise if the session, and with it the lock, has ended."""
        import asyncpg

        try:
            await session.execute("SELECT 1", timeout=CHECK_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(
                f"the lock in {_place(self.url)} was lost while {purpose}: another process may have taken it",
                "check the result with modelworks history, then run again",
                code="lock.lost",
            ) from error


def _key(name: str) -> int:
    """Return the signed 64-bit key of a name for PostgreSQL."""
    return int.from_bytes(hashlib.sha256(f"modelworks {name}".encode()).digest()[:8], "big", signed=True)


def _place(url: str) -> str:
    """Return host, port and name of a database, without credentials."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'this machine'}{':' + str(parts.port) if parts.port else ''}{parts.path}"


async def _end(session: Connection) -> None:
    """Close a session, also a broken one."""
    import asyncpg

    try:
        await session.close(timeout=5)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        session.terminate()
