"""Services that fail in the middle of things: the tracking server, its network, the lock's database, the scheduler."""

# ruff: noqa: F811  # fixtures are imported, and then asked for by name

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest
from faults.projects import TRANSFORMER, write_opinions
from pipelines.postgres import binaries, postgres
from pipelines.tracking_server import Fault, LossyProxy
from registry.conftest import _quiet, empty_store, evaluate, judge, project, proxy, server  # noqa: F401  # fixtures
from samples.makings import PROVENANCE

from modelworks.errors import BadInput, Unavailable
from modelworks.project import Project
from modelworks.record_json import to_json
from modelworks.registry.backend import tracking_store
from modelworks.registry.locks.postgres_advisory import AdvisoryLock
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import runs
from modelworks.registry.verification.verify_version import package_folder
from modelworks.registry.versions import queries, registration
from modelworks.servers.prefect_client import start_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.records import Evaluation, ModelVersion, Verdict

R = TypeVar("R")
NAME = "small"
WEIGHTS = r"PUT .*model\.safetensors$"
needs_postgres = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL is installed here (Debian: apt install postgresql)"
)


@pytest.fixture
def shared(project: Project, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A project whose tracking server is behind the proxy; its lock lies in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    # MLflow's client waits between attempts for longer than the bursts of these tests last.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    return Project(project.root, mlflow_uri=proxy.address)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of the model and the experiment, its own for each test: they share the server."""
    return f"{NAME}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}"


def begin(client: MlflowClient, shared: Project, name: str) -> str:
    return runs.start(client, shared, experiment=name, parameters={"a": "1"}, prefect_flow_run_id="", prefect_url="")


def register(client: MlflowClient, shared: Project, evaluation: Evaluation, name: str, run_id: str) -> ModelVersion:
    return registration.register(client, shared, evaluation, provenance=PROVENANCE, name=name, key="key", run_id=run_id)


def persistently(attempt: Callable[[], R]) -> R:
    """As a stage is retried: as long as what failed may help itself, and then once more."""
    for _ in range(4):
        try:
            return attempt()
        except Unavailable:
            continue
    return attempt()


def numbers(client: MlflowClient, name: str) -> list[int]:
    return sorted(int(each.version) for each in client.search_model_versions(f"name = '{name}'"))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_bursts_of_errors_are_retried_and_nothing_is_created_twice(
    shared: Project,
    proxy: LossyProxy,
    name: str,
    status: Fault,
    evaluate: Callable[..., Evaluation],
    judge: Callable[..., Verdict],
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.stumbling = {".": status}  # each kind of request is refused once
    run_id = persistently(lambda: begin(client, shared, name))
    version = persistently(lambda: register(client, shared, evaluation, name, run_id))
    persistently(lambda: registration.record_verdict(client, judge(version)))
    named = {"reason": "r", "who": "w", "evidence": {}, "proof": lambda *_: {}}
    persistently(lambda: promotion.promote(client, shared, name, 1, expected=None, **named))
    persistently(lambda: runs.finish(client, run_id, "FINISHED"))

    assert len(proxy.faults) > 20
    assert numbers(client, name) == [1]
    assert queries.production(client, name) == 1
    done = [move for move in audit_log.history(client, name) if move.state == "done"]
    assert [(move.number, move.before, move.after) for move in done] == [(1, 0, 1)]
    experiment = client.get_experiment_by_name(name)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [run_id]


def test_a_run_whose_reply_was_lost_is_not_begun_twice(shared: Project, proxy: LossyProxy, name: str) -> None:
    client = tracking_store.connect(shared)
    proxy.lose("runs/create")
    run_id = begin(client, shared, name)
    assert proxy.lost["runs/create"] == 1
    experiment = client.get_experiment_by_name(name)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [run_id]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "request_line", ["POST .*runs/create", "POST .*logged-models$", WEIGHTS, "POST .*model-versions/create"]
)
def test_a_refusal_is_said_and_not_tried_again(
    shared: Project,
    proxy: LossyProxy,
    name: str,
    request_line: str,
    status: Fault,
    evaluate: Callable[..., Evaluation],
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.broken = {request_line: status}
    with pytest.raises(BadInput, match=f"{proxy.address} refuses: .*{status}") as caught:
        register(client, shared, evaluation, name, begin(client, shared, name))
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert list(proxy.faults.values()) == [1]
    proxy.mend()
    assert numbers(client, name) == []


@pytest.mark.parametrize("status", [401, 403])
def test_server_that_refuses_access_is_not_reported_as_unavailable(
    shared: Project, proxy: LossyProxy, status: Fault
) -> None:
    proxy.broken = {".": status}
    with pytest.raises(BadInput, match=f"{proxy.address} refuses: .*{status}") as caught:
        tracking_store.connect(shared)
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert sum(proxy.faults.values()) == 1


def test_an_upload_that_is_reset_in_the_middle_is_sent_again(
    shared: Project, proxy: LossyProxy, name: str, evaluate: Callable[..., Evaluation]
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    proxy.stumbling = {"PUT ": "reset"}
    version = register(client, shared, evaluation, name, begin(client, shared, name))
    assert len(proxy.faults) > 10
    assert numbers(client, name) == [version.version] == [1]
    package_folder(client, shared, name, 1)  # fetched, and every byte compared


@pytest.mark.parametrize("fault", ["reset", "halved"])
@pytest.mark.parametrize("whose", [WEIGHTS, r"PUT .*package/files\.json$"])
def test_a_package_that_does_not_get_through_whole_is_no_version(
    shared: Project, proxy: LossyProxy, name: str, whose: str, fault: Fault, evaluate: Callable[..., Evaluation]
) -> None:
    client, evaluation = tracking_store.connect(shared), evaluate()
    run_id = begin(client, shared, name)
    proxy.broken = {whose: fault}
    with pytest.raises(Unavailable, match=proxy.address):
        register(client, shared, evaluation, name, run_id)
    assert proxy.faults
    assert numbers(client, name) == []
    proxy.mend()
    register(client, shared, evaluation, name, run_id)
    assert numbers(client, name) == [1]
    package_folder(client, shared, name, 1)


REGISTER = """
import json, os, sys
from pathlib import Path

from samples.makings import PROVENANCE
from modelworks.settings import QUIET
from modelworks.project import Project
from modelworks.record_json import from_json
from modelworks.records import Evaluation

os.environ.update(QUIET)
import mlflow  # before the forks, which then cost little
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


def test_concurrent_registrations_get_different_versions(project: Project, evaluate: Callable[..., Evaluation]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REGISTER, str(project.root), "6", ""],
        input=json.dumps(to_json(evaluate(), project.root)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert len(told) == len({run for _, _, run in told}) == 6
    client = tracking_store.connect(project)
    assert {model.name for model in client.search_registered_models()} == {name for name, _, _ in told}
    for number in range(0, 6, 2):
        assert numbers(client, f"own-{number}") == [1]
    assert numbers(client, "common") == sorted(int(version) for name, version, _ in told if name == "common")
    assert numbers(client, "common") == [1, 2, 3]
    assert all(client.get_run(run).info.status == "FINISHED" for _, _, run in told)


HOLD = """
import sys

from modelworks.errors import Unavailable
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

try:
    with AdvisoryLock(sys.argv[1], 60).hold("small", "testing"):
        print("held", flush=True)
        sys.stdin.readline()
    print("gave it back", flush=True)
except Unavailable as error:
    print(f"Unavailable: {error.message}", flush=True)
"""


def holder(address: str) -> subprocess.Popen[str]:
    """A process that wants the lock, says when it has it, and gives it back when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@needs_postgres
def test_restarted_database_reports_the_holder_and_grants_its_lock_again() -> None:
    with postgres() as address, holder(address) as first:
        assert says(first) == "held"
        with holder(address) as second:
            until(lambda: a_session_waits(address))
            database = kill(address)
            assert says(second).startswith("Unavailable: the lock in 127.0.0.1:")
        with pytest.raises(Unavailable, match="does not answer"), AdvisoryLock(address).hold("small", "testing"):
            pytest.fail("a dead database gives no lock")
        with started_again(database), holder(address) as third:
            assert says(third) == "held"
            go_on(first)
            assert says(first).startswith("Unavailable: the lock in 127.0.0.1:"), "what it did, it did not do alone"
            go_on(third)
            assert says(third) == "gave it back"


def go_on(process: subprocess.Popen[str]) -> None:
    print(file=process.stdin, flush=True)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between looks


def a_session_waits(address: str) -> bool:
    """Return whether a session of the server waits for a lock: the server writes it into the process's command line."""
    return any(" ".join(each.cmdline()).rstrip().endswith("waiting") for each in postmaster(address).children())


def postmaster(address: str) -> psutil.Process:
    """The server's first process: the one whose command line names the port."""
    option = f"port={urlsplit(address).port}"
    return next(each for each in psutil.process_iter(["cmdline"]) if option in (each.info["cmdline"] or ()))


@dataclass(frozen=True)
class Killed:
    """How a server was started that runs no more."""

    command: list[str]
    folder: str
    user: int
    address: str


def kill(address: str) -> Killed:
    """Kill the postmaster; all others of the server end by themselves when it is gone."""
    process = postmaster(address)
    others = process.children()
    killed = Killed(process.cmdline(), process.cwd(), process.uids().real, address)
    process.kill()
    process.wait(60)  # until it is reaped, its number stands for a server that runs
    _, alive = psutil.wait_procs(others, 60)
    assert not alive
    return killed


@contextmanager
def started_again(killed: Killed) -> Iterator[None]:
    user: dict[str, Any] = {} if killed.user == os.geteuid() else {"user": killed.user, "group": killed.user}
    with subprocess.Popen(
        killed.command, cwd=killed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
    ) as process:
        until(lambda: answers(killed.address))
        yield
        process.kill()


def answers(address: str) -> bool:
    try:
        with AdvisoryLock(address, 5).hold("another", "testing"):
            return True
    except Unavailable:
        return False


def ask(url: str, path: str, question: dict[str, Any] | None = None) -> Any:
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(f"{url}/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def due(url: str) -> set[str]:
    """Ids of the runs that wait for their time."""
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
        # It was killed; the days of those runs go by.
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
            assert not missed & {run["id"] for run in ask(url, "flow_runs/filter", {})}, "Prefect would start them all"
            assert not ask(url, "deployments/name/training/opinions")["paused"]
    finally:
        server.stop()


def now() -> str:
    return datetime.now(UTC).isoformat()
