"""Concurrent registrations, a restarted database, and a scheduler that was down."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.projects import TRANSFORMER, write_opinions
from faults.services.database_processes import a_session_waits, holder, kill, output_line, release, started_again, until
from faults.services.registered_versions import numbers
from pipelines.postgres import binaries, postgres

from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.record_json import to_json
from modelworks.registry.backend import tracking_store
from modelworks.registry.locks.postgres_advisory import AdvisoryLock
from modelworks.servers.prefect_client import start_server

if TYPE_CHECKING:
    from modelworks.records import Evaluation

needs_postgres = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL is installed here (Debian: apt install postgresql)"
)

REGISTER = """
import json, os, sys
from pathlib import Path

from samples.makings import PROVENANCE
from modelworks.settings import QUIET
from modelworks.project import Project
from modelworks.record_json import from_json
from modelworks.records import Evaluation

os.environ.update(QUIET)
import mlflow  # before the forks, which is faster
import mlflow.pyfunc
from modelworks.registry.versions import registration
from modelworks.registry.tracking import runs
from modelworks.registry.backend import tracking_store

root, processes, uri = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
project = Project(root, mlflow_uri=uri or None)
evaluation = from_json(Evaluation, json.loads(sys.stdin.read()), root)

def work(number):
    client, name = tracking_store.connect(project), "common" if number % 2 else f"own-{number}"
    run_id = runs.start(client, project, experiment=name, parameters={}, prefect_flow_run_id="", prefect_url="")
    version = registration.register(
        client, project, evaluation, provenance=PROVENANCE, name=name, key=f"key-{number}", run_id=run_id
    )
    runs.finish(client, run_id, "FINISHED")
    os.write(1, f"{name} {version.version} {run_id}\\n".encode())

def fork(number):
    child = os.fork()
    if child == 0:
        try:
            work(number)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\\n".encode())
            os._exit(1)
        os._exit(0)
    return child

children = [fork(number) for number in range(processes)]
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""


@pytest.mark.slow
def test_concurrent_registrations_get_different_versions(project: Project, evaluate: Callable[..., Evaluation]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REGISTER, str(project.root), "6", ""],
        input=json.dumps(to_json(evaluate(), project.root)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    registered = [line.split() for line in done.stdout.splitlines()]
    assert len(registered) == len({run for _, _, run in registered}) == 6
    client = tracking_store.connect(project)
    assert {model.name for model in client.search_registered_models()} == {name for name, _, _ in registered}
    for number in range(0, 6, 2):
        assert numbers(client, f"own-{number}") == [1]
    assert numbers(client, "common") == sorted(int(version) for name, version, _ in registered if name == "common")
    assert numbers(client, "common") == [1, 2, 3]
    assert all(client.get_run(run).info.status == "FINISHED" for _, _, run in registered)


@needs_postgres
def test_restarted_database_reports_the_holder_and_grants_its_lock_again() -> None:
    with postgres() as address, holder(address) as first:
        assert output_line(first) == "held"
        with holder(address) as second:
            until(lambda: a_session_waits(address))
            database = kill(address)
            assert output_line(second).startswith("Unavailable: the lock in 127.0.0.1:")
        with pytest.raises(Unavailable, match="does not answer"), AdvisoryLock(address).hold("small", "testing"):
            pytest.fail("the lock was granted without a database")
        with started_again(database), holder(address) as third:
            assert output_line(third) == "held"
            release(first)
            assert output_line(first).startswith("Unavailable: the lock in 127.0.0.1:"), (
                "the lock was lost while it was held"
            )
            release(third)
            assert output_line(third) == "released"


def ask(url: str, path: str, question: dict[str, Any] | None = None) -> Any:
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(f"{url}/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def due(url: str) -> set[str]:
    """Return the ids of scheduled runs."""
    return {run["id"] for run in ask(url, "flow_runs/filter", {}) if run["state_type"] == "SCHEDULED"}


@contextmanager
def scheduler(made: Project, url: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **made.environment(), "PREFECT_API_URL": url, "MODELWORKS_PROJECT": str(made.root)}
    with (
        (made.state / "scheduler.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "flows.scheduler"], cwd=made.root, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_runs_missed_while_the_scheduler_was_down_are_not_repeated(made: Project) -> None:
    (made.root / "configs" / "opinions.yaml").write_text(TRANSFORMER + 'schedule: {cron: "0 2 * * *"}\n')
    write_opinions(made.root)  # a config without its data is not scheduled
    server = start_server(made, pages=True)
    try:
        url = server.wait()
        with scheduler(made, url):
            until(lambda: len(due(url)) >= 3)
        # The scheduler was killed. Move its scheduled runs into the past.
        missed = due(url)
        with closing(sqlite3.connect(made.prefect_home / "prefect.db", timeout=60)) as database, database:
            database.execute(
                "UPDATE flow_run SET expected_start_time = datetime(expected_start_time, '-9 days'),"
                " next_scheduled_start_time = datetime(next_scheduled_start_time, '-9 days')"
            )
        assert ask(url, "flow_runs/count", {"flow_runs": {"next_scheduled_start_time": {"before_": now()}}}) == len(
            missed
        )

        with scheduler(made, url):
            until(lambda: len(due(url) - missed) >= 3)
            assert not missed & {run["id"] for run in ask(url, "flow_runs/filter", {})}, (
                "Prefect would start all of them"
            )
            assert not ask(url, "deployments/name/training/opinions")["paused"]
    finally:
        server.stop()


def now() -> str:
    return datetime.now(UTC).isoformat()
