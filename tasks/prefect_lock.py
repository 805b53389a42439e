"""Which lock keeps promotions and registrations apart: that of the widest circle of those who share the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from modelworks.errors import BadInput, Unavailable
from modelworks.locks import PATIENCE, WAY_OUT, Lock, MachineLock
from modelworks.project import Project
from modelworks.redaction import without_password
from modelworks.registry.backend.error_mapping import is_remote
from modelworks.registry.backend.postgres_connection import is_postgres
from modelworks.registry.locks.machine import is_local, machine_lock
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

__all__ = ["PrefectLimit", "choose_lock", "warning"]

LEASE = 60.0
"""Seconds until Prefect frees what a killed holder had; the least it allows. Living holders renew theirs."""


def choose_lock(project: Project) -> Lock:
    """The lock for a project's store.

    A store that is a PostgreSQL database has locks itself, and one in a file needs no more than the kernel's. A tracking
    server is shared, also one on loopback, which may stand behind a proxy: by the locks of its PostgreSQL database if
    `MODELWORKS_LOCK_URL` names it, else by a limit of the Prefect server that is shared too. One on loopback is not: a
    run may have started it for itself.

    Raises:
        BadInput: `MODELWORKS_LOCK_URL` is not the address of a PostgreSQL database.
    """
    if project.lock_url:
        return AdvisoryLock(project.lock_url)  # also where the store's own address is that of a transaction pooler
    if is_postgres(project.tracking_uri):
        return AdvisoryLock(project.tracking_uri, variable="MLFLOW_TRACKING_URI")
    if is_remote(project.tracking_uri) and project.prefect_url and not is_local(project.prefect_url):
        return PrefectLimit(project.prefect_url)
    return machine_lock(project)


def warning(project: Project, lock: Lock) -> str:
    """What is wrong with a lock for a project's store; empty for nothing."""
    if not is_remote(project.tracking_uri) or not isinstance(lock, MachineLock):
        return ""
    return (
        f"{without_password(project.tracking_uri)} may be shared, but the lock is one user's on this machine: let nobody "
        "else promote or register, or set MODELWORKS_LOCK_URL (PostgreSQL) or PREFECT_API_URL (a server not on loopback)"
    )


@dataclass(frozen=True)
class PrefectLimit:
    """A global concurrency limit of one per name, on the Prefect server that this process is configured for."""

    url: str
    """Of that server's API, to be shown."""
    seconds: float = PATIENCE

    @property
    def kind(self) -> str:
        return f"Prefect's concurrency limit, among all who use {without_password(self.url)}"

    @contextmanager
    def hold(self, name: str, purpose: str) -> Iterator[None]:
        """Be alone under a name; ends the block with an error when the server takes the lease away.

        Raises:
            BadInput: somebody made the limit another one.
            Unavailable: the server does not answer, another process has the limit for too long, or it was lost within
                the block: what was done there may not have been done alone.
        """
        from asyncio import CancelledError

        from httpx import HTTPError

        limit = f"modelworks-{name}"
        failure: BaseException | None = None
        try:
            with self._taken(limit, purpose):
                try:
                    yield
                except BaseException as error:  # to tell it from what becomes of the limit
                    failure = error
                    raise
        except (CancelledError, HTTPError) as error:
            if failure is not None and not isinstance(failure, CancelledError):
                raise failure  # noqa: B904  # the block's own: it says more than that the limit was not given back
            raise Unavailable(
                f"the lock {limit} was lost while {purpose}: another process may have had it",
                "see what came of it with modelworks history, then run again",
            ) from error

    def _taken(self, limit: str, purpose: str) -> ExitStack:
        """What gives the limit back; raises Prefect's CancelledError in this thread when the lease cannot be renewed."""
        from httpx import HTTPError
        from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
        from prefect.concurrency.sync import concurrency

        held = ExitStack()
        try:
            _make(limit)
            held.enter_context(concurrency(limit, strict=True, timeout_seconds=self.seconds, lease_duration=LEASE))
        except TimeoutError:
            raise Unavailable(
                f"another process is {purpose} already: it has had Prefect's {limit} for {self.seconds:.0f} s",
                f"{WAY_OUT}; what a killed one had is free after {LEASE:.0f} s",
            ) from None
        except (HTTPError, ConcurrencySlotAcquisitionError) as error:
            raise Unavailable(
                f"the lock {limit} cannot be had from {self.url}: {error}",
                "start that server or mend PREFECT_API_URL",
            ) from error
        return held


def _make(limit: str) -> None:
    """Make the limit if there is none: one at a time, as a slot that is never freed by itself."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            found = client.read_global_concurrency_limit_by_name(limit)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another process was faster
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=limit, limit=1))
            found = client.read_global_concurrency_limit_by_name(limit)
    if found.limit != 1 or not found.active or found.slot_decay_per_second:
        raise BadInput(
            f"Prefect's concurrency limit {limit} is not one at a time: it allows {found.limit}"
            + ("" if found.active else ", and is off"),
            f"prefect gcl delete {limit}; it is made again",
        )
