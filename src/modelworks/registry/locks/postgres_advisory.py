"""The lock of a team: PostgreSQL's advisory locks, in the database that `MODELWORKS_LOCK_URL` names."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.errors import BadInput, Unavailable
from modelworks.files.locks import PATIENCE, WAY_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection

__all__ = ["AdvisoryLock"]

VARIABLE = "MODELWORKS_LOCK_URL"
CONNECT_SECONDS = 10.0

KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that a holder whose machine lost its power is found dead within half a minute."""
CHECK_SECONDS = 10.0

HOLDER = """
SELECT application_name, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = $1
"""


@dataclass(frozen=True)
class AdvisoryLock:
    """Held by a session of its own, so that the server frees it at once when its holder dies.

    The address must lead to the database itself or to a pooler that keeps sessions: one that pools transactions
    (PgBouncer's `transaction` mode) would give the session away.
    """

    url: str = field(repr=False)  # it may hold a password
    seconds: float = PATIENCE

    def __post_init__(self) -> None:
        # It may name a driver, as in postgresql+psycopg2://.
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
        """Be alone under a name.

        Raises:
            BadInput: the database refuses our credentials.
            Unavailable: it does not answer, another session has the lock for too long, or the database went away
                within the block: what was done there may not have been done alone.
        """
        import asyncio

        # A loop of its own: between taking and freeing the lock nothing needs to run in it.
        with asyncio.Runner() as runner:
            session = runner.run(self._taken(name, purpose))
            try:
                yield
                runner.run(self._demand_held(session, purpose))
            finally:
                runner.run(_end(session))  # and with it the lock is given back

    async def _taken(self, name: str, purpose: str) -> Connection:
        import asyncpg

        session = await self._connected()
        key = _key(name)
        try:
            await session.execute("SELECT pg_advisory_lock($1)", key)
        except asyncpg.LockNotAvailableError:
            who = await session.fetchrow(HOLDER, key)
            await _end(session)
            holder = f"{who[0]} since {who[1]} UTC" if who else "another session"
            raise Unavailable(f"another process is {purpose} already: {holder}", WAY_OUT, code="lock.held") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(
                f"the lock in {_place(self.url)} cannot be had: {error}", "run again", code="lock.unavailable"
            ) from error
        return session

    async def _connected(self) -> Connection:
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
            raise BadInput(f"{VARIABLE}: {error}", "mend the address", code="lock.address") from error
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"the database {_place(self.url)} does not answer: {reason}",
                f"start it or mend {VARIABLE}",
                code="lock.unavailable",
            ) from error

    async def _demand_held(self, session: Connection, purpose: str) -> None:
        """Raise when the session, and the lock with it, has ended since it was taken."""
        import asyncpg

        try:
            await session.execute("SELECT 1", timeout=CHECK_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(
                f"the lock in {_place(self.url)} was lost while {purpose}: another process may have had it",
                "see what came of it with modelworks history, then run again",
                code="lock.lost",
            ) from error


def _key(name: str) -> int:
    """The 64 signed bits that PostgreSQL wants for a name."""
    return int.from_bytes(hashlib.sha256(f"modelworks {name}".encode()).digest()[:8], "big", signed=True)


def _place(url: str) -> str:
    """Host, port and name of a database: what of its address may be shown."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'this machine'}{':' + str(parts.port) if parts.port else ''}{parts.path}"


async def _end(session: Connection) -> None:
    """Close a session; one that is broken already needs no closing."""
    import asyncpg

    try:
        await session.close(timeout=5)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        session.terminate()
