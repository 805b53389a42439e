"""A PostgreSQL database as the tracking store itself: its tables made once and whole, its lock, its password unsaid."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from makings import MAKING
from postgres import binaries, postgres
from registry.creations import PRELUDE

from modelworks.errors import BadInput, ModelworksError, Unavailable
from modelworks.project import Project
from modelworks.registry.backend import postgres_schema, tracking_store
from modelworks.registry.backend.sqlite_fast_path import Glance, glance
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import runs
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.versions import queries, registration
from tasks.prefect_lock import choose_lock

if TYPE_CHECKING:
    from modelworks.records import Evaluation, Verdict
    from modelworks.registry.verification.isolated_process import IsolatedModel

SECRET = "canary-of-the-database"  # the server trusts everybody; what is asked is where it turns up
CREATIONS = f"""{PRELUDE}
root, uri = sys.argv[1:]
project = Project(Path(root), mlflow_uri=uri)

def fork(killed_at=None):
    child = os.fork()
    if not child:
        die_at(killed_at)
        tracking_store.connect(project)
        os._exit(0)
    return child

killed = ended(fork(300))
made = tracking_store.is_made(project)
together = [fork() for _ in range(3)]
print(json.dumps({{"killed": killed, "made": made, "together": [ended(child) for child in together]}}))
"""

pytestmark = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL is installed here (Debian: apt install postgresql)"
)


def ask(uri: str, statement: str) -> list[Any]:
    """What a database answers."""

    async def answer() -> list[Any]:
        session = await asyncpg.connect(uri)
        try:
            return await session.fetch(statement)
        finally:
            await session.close()

    return asyncio.run(answer())


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address:
        yield address.replace("team@", f"team:{SECRET}@")


@pytest.fixture(scope="module")
def creation(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The project whose database `made` got its tables, by a process that was killed and three at once; how all ended."""
    ask(server, "CREATE DATABASE made")
    root = tmp_path_factory.mktemp("first")
    command = [sys.executable, "-c", CREATIONS, str(root), server.replace("/postgres", "/made")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return root, json.loads(done.stdout)


@pytest.fixture
def shared(server: str, creation: object, project: Project) -> Iterator[Project]:
    """A project whose store is a database of its own."""
    ask(server, "CREATE DATABASE store TEMPLATE made")
    yield Project(project.root, mlflow_uri=server.replace("/postgres", "/store"))
    ask(server, "DROP DATABASE IF EXISTS store WITH (FORCE)")


def test_a_version_is_registered_and_promoted_under_the_databases_own_lock(
    shared: Project,
    evaluate: Callable[..., Evaluation],
    judge: Callable[..., Verdict],
    witness: IsolatedModel,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client, lock = tracking_store.connect(shared), choose_lock(shared)
    place = shared.tracking_uri.partition("@")[2]
    assert lock.kind == f"PostgreSQL advisory lock, among all who use {place}"
    run_id = runs.start(
        client, shared, experiment="small", parameters={"a": "1"}, prefect_flow_run_id="", prefect_url=""
    )
    evaluation = evaluate()
    runs.log_dataset(client, run_id, evaluation.trained.report.dataset)
    runs.log_evaluation(client, run_id, evaluation)
    given: dict[str, Any] = {"making": MAKING, "name": "small", "key": "a", "run_id": run_id, "lock": lock}
    version = registration.register(client, shared, evaluation, **given)
    assert registration.register(client, shared, evaluation, **given) == version
    registration.record_verdict(client, judge(version))
    proof = partial(prove, witness=witness)
    named: dict[str, Any] = {"reason": "r", "who": "w", "evidence": {}, "lock": lock, "proof": proof}
    promotion.promote(client, shared, "small", 1, expected=0, **named)
    runs.finish(client, run_id, "FINISHED")

    (move,) = audit_log.history(client, "small")
    assert (move.state, move.after, move.lock) == ("done", 1, lock.kind)
    assert glance(shared, "small", "a") == Glance(version=queries.get(client, "small", 1), production=1)
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err + repr(shared) + repr(lock)
    assert not holders(shared, SECRET)


def holders(project: Project, secret: str) -> list[str]:
    """Tables and files that hold a text."""
    columns = ask(
        project.tracking_uri,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
    )
    held = [
        str(table)
        for (table,) in columns
        if ask(project.tracking_uri, f"SELECT 1 FROM {table} WHERE {table}::text LIKE '%{secret}%' LIMIT 1")
    ]
    files = [path for path in project.root.rglob("*") if path.is_file()]
    assert len(columns) > 20
    assert len(files) > 10
    return held + [str(path) for path in files if secret.encode() in path.read_bytes()]


def test_artifacts_lie_where_the_first_who_used_the_database_said(shared: Project) -> None:
    ask(shared.tracking_uri, "UPDATE experiments SET artifact_location = 's3://team/artifacts/0'")
    # Another clone, with a wish of its own: what all share is one place.
    client = tracking_store.connect(replace(shared, artifact_root="s3://other"))
    experiment = client.get_experiment(tracking_store.ensure_experiment(client, "small"))
    assert experiment.artifact_location == "s3://team/artifacts/small"


def test_a_creation_that_is_killed_is_taken_back_and_of_several_at_once_one_creates(
    creation: tuple[Path, dict[str, Any]], shared: Project
) -> None:
    root, ends = creation
    assert ends == {"killed": -signal.SIGKILL, "made": False, "together": [0, 0, 0]}
    assert tracking_store.is_made(shared)
    (default,) = tracking_store.connect(shared).search_experiments()
    assert default.artifact_location == f"{(root / 'mlflow' / 'artifacts').as_uri()}/0"


def test_a_database_of_another_machine_is_not_filled_before_a_place_for_artifacts_is_named(server: str) -> None:
    def make(uri: str, root: str) -> None:
        pytest.fail("tables were made")

    with pytest.raises(BadInput, match="where are artifacts to be kept") as caught:
        postgres_schema.prepare(server, "", make)
    assert "MLFLOW_DEFAULT_ARTIFACT_ROOT" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (
            "UPDATE alembic_version SET version_num = '451aebb31d03'",
            Unavailable,
            r"451aebb31d03.*mlflow db upgrade \$MLFLOW_TRACKING_URI",
        ),
        (
            "UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'",
            BadInput,
            "tracking server alone.*name that server",
        ),
    ],
)
def test_a_store_that_cannot_be_used_directly_is_named_with_the_way_out(
    shared: Project, change: str, kind: type[ModelworksError], said: str
) -> None:
    ask(shared.tracking_uri, change)
    with pytest.raises(kind) as caught:
        tracking_store.connect(shared)
    text = f"{caught.value.message}: {caught.value.hint}"
    assert re.search(said, text), text
    assert SECRET not in text


def test_a_database_that_goes_away_meanwhile_is_unavailable(server: str, shared: Project) -> None:
    client = tracking_store.connect(shared)
    assert queries.production(client, "small") == 0
    ask(server, "DROP DATABASE store WITH (FORCE)")
    with pytest.raises(Unavailable, match=r"postgresql://\*\*\*@127\.0\.0\.1:\d+/store does not answer") as caught:
        queries.production(client, "small")
    assert "start the database" in caught.value.hint
    assert SECRET not in str(caught.value)


def test_without_a_driver_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as where it is not installed
    with pytest.raises(BadInput, match="psycopg2 is not installed") as caught:
        tracking_store.connect(Project(tmp_path, mlflow_uri=f"postgresql://team:{SECRET}@127.0.0.1:9/mlflow"))
    assert caught.value.hint == "pip install 'modelworks[postgres]'"


@pytest.mark.parametrize("driver", ["postgres", "postgresql+nonesuch", "postgresql+asyncpg"])
def test_an_address_that_mlflow_cannot_use_is_bad_input(tmp_path: Path, driver: str) -> None:
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI") as caught:
        tracking_store.connect(Project(tmp_path, mlflow_uri=f"{driver}://team:{SECRET}@127.0.0.1:9/mlflow"))
    assert "postgresql://user@host/database" in caught.value.hint
    assert SECRET not in str(caught.value)


def test_a_database_that_does_not_answer_or_is_not_there_is_said_without_its_password(
    server: str, tmp_path: Path
) -> None:
    away = Project(tmp_path, mlflow_uri=f"postgresql://team:{SECRET}@127.0.0.1:9/mlflow")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/mlflow does not answer") as caught:
        tracking_store.connect(away)
    assert SECRET not in str(caught.value)
    lost = Project(tmp_path, mlflow_uri=server.replace("/postgres", "/nonesuch"))
    with pytest.raises(BadInput, match=r"MLFLOW_TRACKING_URI: .*nonesuch") as refused:
        tracking_store.connect(lost)
    assert SECRET not in str(refused.value)
