"""Which lock keeps promotions and registrations apart: that of the widest circle of those who share the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from modelworks.errors import BadInput, Unavailable
from modelworks.locks import PATIENCE, WAY_OUT, Lock, MachineLock
from modelworks.project import Project
from modelworks.registry.advisory import AdvisoryLock
from modelworks.registry.guard import is_local, machine_lock
from modelworks.registry.postgres import is_postgres
from modelworks.secrets import without_password

__all__ = ["PrefectLimit", "choose_lock", "warning"]

LEASE = 60.0
"""Seconds until Prefect frees what a killed holder had; the least it allows. Living holders renew theirs."""


def choose_lock(project: Project) -> Lock:
    """The lock for a project's store.

    A store that is a PostgreSQL database has locks itself. Any other on this machine needs no more than the kernel's.
    A tracking server is shared: by the locks of its PostgreSQL database if `MODELWORKS_LOCK_URL` names it, else by a
    limit of the Prefect server that is shared too.

    Raises:
        BadInput: `MODELWORKS_LOCK_URL` is not the address of a PostgreSQL database.
    """
    if project.lock_url:
        return AdvisoryLock(project.lock_url)  # also where the store's own address is that of a transaction pooler
    if is_postgres(project.tracking_uri):
        return AdvisoryLock(project.tracking_uri, variable="MLFLOW_TRACKING_URI")
    if not is_local(project.tracking_uri) and project.prefect_url and not is_local(project.prefect_url):
        return PrefectLimit(project.prefect_url)
    return machine_lock(project)


def warning(project: Project, lock: Lock) -> str:
    """What is wrong with a lock for a project's store; empty for nothing."""
    if is_local(project.tracking_uri) or not isinstance(lock, MachineLock):
        return ""
    return (
        f"{without_password(project.tracking_uri)} is shared, but the lock is this machine's alone: let no other machine "
        "promote or register, or set MODELWORKS_LOCK_URL (PostgreSQL) or PREFECT_API_URL (a shared server)"
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
            Unavailable: the server does not answer, or another process has the limit for too long.
        """
        from httpx import HTTPError
        from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
        from prefect.concurrency.sync import concurrency

        limit = f"modelworks-{name}"
        with ExitStack() as held:
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
            yield


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
