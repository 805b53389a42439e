"""The lock of a team: PostgreSQL's advisory locks, in the database that the tracking server keeps its tables in."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelworks.errors import BadInput, Unavailable
from modelworks.locks import PATIENCE, WAY_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg import Connection

__all__ = ["AdvisoryLock"]

CONNECT_SECONDS = 10.0
KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that a holder whose machine lost its power is found dead within half a minute."""

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
        if urlsplit(self.url).scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise BadInput(
                "MODELWORKS_LOCK_URL is not the address of a PostgreSQL database",
                "e.g. postgresql://user@host/mlflow: the database that the tracking server uses; or unset it",
            )

    @property
    def kind(self) -> str:
        return f"PostgreSQL advisory lock, among all who use {self._place}"

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[None]:
        """Be alone under a name.

        Raises:
            BadInput: the database refuses our credentials.
            Unavailable: it does not answer, or another session has the lock for too long.
        """
        import asyncio

        # A loop of its own: between taking and freeing the lock nothing needs to run in it.
        with asyncio.Runner() as runner:
            session = runner.run(self._taken(name, purpose))
            try:
                yield
            finally:
                runner.run(_end(session))

    @property
    def _place(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.hostname or 'this machine'}{':' + str(parts.port) if parts.port else ''}{parts.path}"

    async def _taken(self, name: str, purpose: str) -> Connection:
        import asyncpg

        session = await self._session()
        key = _key(name)
        try:
            await session.execute("SELECT pg_advisory_lock($1)", key)
        except asyncpg.LockNotAvailableError:
            who = await session.fetchrow(HOLDER, key)
            await _end(session)
            holder = f"{who[0]} since {who[1]} UTC" if who else "another session"
            raise Unavailable(f"another process is {purpose} already: {holder}", WAY_OUT) from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Unavailable(f"the lock in {self._place} cannot be had: {error}", "run again") from error
        return session

    async def _session(self) -> Connection:
        import asyncpg

        scheme, _, rest = self.url.partition("://")
        try:
            return await asyncpg.connect(
                f"{scheme.partition('+')[0]}://{rest}",  # MLflow's addresses may name a driver
                timeout=CONNECT_SECONDS,
                statement_cache_size=0,
                server_settings={
                    "application_name": f"modelworks pid {os.getpid()} on {socket.gethostname()}"[:63],
                    "lock_timeout": f"{self.seconds * 1000:.0f}",
                    **KEEPALIVE,
                },
            )
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise BadInput(f"MODELWORKS_LOCK_URL: {error}", "mend the address") from error
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"the database of the lock, {self._place}, does not answer: {reason}",
                "start it or mend MODELWORKS_LOCK_URL",
            ) from error


async def _end(session: Connection) -> None:
    """Close the session and with it give the lock back; one that is broken already has lost it."""
    import asyncpg

    try:
        await session.close(timeout=5)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        session.terminate()


def _key(name: str) -> int:
    """The 64 signed bits that PostgreSQL wants for a name."""
    return int.from_bytes(hashlib.sha256(f"modelworks {name}".encode()).digest()[:8], "big", signed=True)
