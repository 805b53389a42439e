"""Which lock a promotion takes, and Prefect's limit as one."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tracking_server import LossyProxy

from modelworks.errors import BadInput
from modelworks.locks import MachineLock
from modelworks.project import Project
from modelworks.registry.locks.postgres_advisory import AdvisoryLock
from modelworks.settings import QUIET
from tasks.prefect_lock import PrefectLimit, choose_lock, warning

HOLD = """
import sys
import time

from httpx import ReadError

from tasks.prefect_lock import PrefectLimit

name, seconds, work = sys.argv[1], float(sys.argv[2]), sys.argv[3]
try:
    with PrefectLimit("http://prefect", seconds).hold(name, "testing"):
        print("held", flush=True)
        exec(work)
except BaseException as error:
    print(f"{type(error).__name__}: {error}".splitlines()[0], flush=True)
"""
UNTIL_TOLD, FOR_EVER = "sys.stdin.read()", "while True: time.sleep(0.01)"
LIMIT = """
import sys

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

with get_client(sync_client=True) as client:
    if len(sys.argv) > 2:
        client.update_global_concurrency_limit(sys.argv[1], GlobalConcurrencyLimitUpdate(limit=int(sys.argv[2])))
    found = client.read_global_concurrency_limit_by_name(sys.argv[1])
print(found.limit, found.active_slots)
"""
TEAM, HERE = "https://mlflow.team.example", "http://127.0.0.1:5000"
PREFECT = "https://prefect.team.example/api"
POSTGRES = "postgresql://team@db.team.example/mlflow"


@pytest.mark.parametrize(
    ("mlflow", "prefect", "lock", "kind", "warned"),
    [
        ("", "", "", MachineLock, False),
        ("", PREFECT, "", MachineLock, False),
        # A server on loopback may be the team's, seen from its host.
        (HERE, PREFECT, "", PrefectLimit, False),
        (HERE, "", "", MachineLock, True),
        (HERE, "", POSTGRES, AdvisoryLock, False),
        (TEAM, PREFECT, "", PrefectLimit, False),
        (TEAM, PREFECT, POSTGRES, AdvisoryLock, False),
        (TEAM, "", POSTGRES, AdvisoryLock, False),
        # A store that is a database has a lock itself, wherever it is.
        (POSTGRES, "", "", AdvisoryLock, False),
        (POSTGRES, PREFECT, "", AdvisoryLock, False),
        ("postgresql://127.0.0.1/mlflow", "", "", AdvisoryLock, False),
        (TEAM, "", "", MachineLock, True),
        # A Prefect server on loopback may be the run's own, whose limit keeps nobody out.
        (TEAM, "http://127.0.0.1:4200/api", "", MachineLock, True),
        (HERE, "http://127.0.0.1:4200/api", "", MachineLock, True),
    ],
)
def test_the_lock_is_that_of_the_widest_circle_that_shares_the_store(
    tmp_path: Path, mlflow: str, prefect: str, lock: str, kind: type, warned: bool
) -> None:
    project = Project(tmp_path, mlflow_uri=mlflow, prefect_url=prefect, lock_url=lock)
    chosen = choose_lock(project)
    assert type(chosen) is kind
    assert bool(warning(project, chosen)) == warned


def test_a_lock_url_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="MODELWORKS_LOCK_URL"):
        choose_lock(Project(tmp_path, lock_url="redis://host"))


@contextmanager
def holding(
    url: str, name: str, seconds: float = 60, work: str = UNTIL_TOLD
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that tries to take the lock, and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, name, str(seconds), work],
        env={**os.environ, **QUIET, "PREFECT_API_URL": url, "PREFECT_CLIENT_MAX_RETRIES": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def limit(url: str, name: str, *new: str) -> str:
    """The limit and the slots taken, as Prefect has them."""
    command = [sys.executable, "-c", LIMIT, f"modelworks-{name}", *new]
    environment = {**os.environ, **QUIET, "PREFECT_API_URL": url}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_one_holder_at_a_time_has_prefects_limit_and_gives_it_back(server_url: str) -> None:
    name = f"production-{uuid.uuid4().hex[:8]}"
    with holding(server_url, name) as (first, said):
        assert said == "held"
        assert limit(server_url, name) == "1 1.0" or limit(server_url, name) == "1 1"
        with holding(server_url, name, seconds=1) as (_, refused):
            assert refused.startswith("Unavailable: another process is testing already")
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait(60) == 0
    with holding(server_url, name, seconds=5) as (_, said):
        assert said == "held"


def test_a_limit_that_allows_several_is_refused(server_url: str) -> None:
    name = f"production-{uuid.uuid4().hex[:8]}"
    with holding(server_url, name) as (first, _):
        assert first.stdin is not None
        first.stdin.close()
        first.wait(60)
    assert limit(server_url, name, "2").startswith("2")
    with holding(server_url, name) as (_, said):
        assert said.startswith("BadInput: Prefect's concurrency limit")


def test_a_prefect_server_that_is_away_is_unavailable() -> None:
    with holding("http://127.0.0.1:9/api", "production-small", seconds=1) as (_, said):
        assert said.startswith("Unavailable: the lock modelworks-production-small cannot be had")


@pytest.mark.parametrize(
    ("broken", "work", "said"),
    [
        # Prefect interrupts whoever has the limit when it cannot renew the lease.
        ("/renew$", FOR_EVER, "Unavailable: the lock modelworks-{name} was lost while testing"),
        ("/renew$|/decrement-with-lease$", FOR_EVER, "Unavailable: the lock modelworks-{name} was lost while testing"),
        ("/decrement-with-lease$", "pass", "Unavailable: the lock modelworks-{name} was lost while testing"),
        ("/decrement-with-lease$", "raise LookupError('no such row')", "LookupError: no such row"),
        ("/nothing$", "raise ReadError('the work')", "ReadError: the work"),
    ],
    ids=["not renewed", "server away", "not given back", "not given back after an error", "an error like its own"],
)
def test_a_limit_that_is_lost_under_its_holder_is_said_unless_the_holder_failed_itself(
    server_url: str, broken: str, work: str, said: str
) -> None:
    name = f"production-{uuid.uuid4().hex[:8]}"
    proxy = LossyProxy(server_url.removesuffix("/api"))
    try:
        proxy.broken[broken] = 503
        with holding(f"{proxy.address}/api", name, work=work) as (process, first):
            assert first == "held"
            assert process.stdout is not None
            assert process.stdout.readline().startswith(said.format(name=name))
    finally:
        proxy.close()
