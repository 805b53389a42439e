from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from registry.creations import PRELUDE

from modelworks.errors import BadInput, Corrupt, Unavailable
from modelworks.project import Project
from modelworks.registry.backend import tracking_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATEMENTS = (1, 300, 700, 0)
"""SQL statements at which a creation is killed: the first, during the migrations, at the default experiment after
them, and (0) just before the rename."""

CREATIONS = f"""{PRELUDE}
from modelworks.sqlite import databases

databases.empty_database = lambda library: Path("/nowhere")  # as in an environment without one

def create(folder, killed_at=None):
    die_at(killed_at)
    if killed_at == 0:
        Path.rename = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    tracking_store.connect(Project(folder))

def fork(*given):
    child = os.fork()
    if not child:
        create(*given)
        os._exit(0)
    return child

root = Path(sys.argv[1])
killed = {{number: ended(fork(root / number, int(number))) for number in sys.argv[2:]}}
together = [fork(root / "together") for _ in range(3)]
print(json.dumps({{"killed": killed, "together": [ended(child) for child in together]}}))
"""


@pytest.fixture(scope="module")
def creations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with projects of killed and concurrent creations, and their exit codes."""
    root = tmp_path_factory.mktemp("creations")
    command = [sys.executable, "-c", CREATIONS, str(root), *map(str, STATEMENTS)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return root, json.loads(result.stdout)


def test_new_store_is_complete_with_artifacts_next_to_it(tmp_path: Path) -> None:
    client = tracking_store.connect(Project(tmp_path))
    path = tmp_path / "mlflow" / "mlflow.db"
    assert sorted(each.name for each in path.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (default,) = client.search_experiments()
    assert default.artifact_location == f"{(tmp_path / 'mlflow' / 'artifacts').as_uri()}/0"


def test_connecting_again_does_not_change_the_file(project: Project) -> None:
    path = project.mlflow / "mlflow.db"
    before = path.read_bytes()
    tracking_store.connect(project)
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("statement", STATEMENTS)
def test_connect_works_after_a_kill_during_creation(creations: tuple[Path, dict[str, Any]], statement: int) -> None:
    root, ends = creations
    folder = root / str(statement) / "mlflow"
    assert ends["killed"][str(statement)] == -signal.SIGKILL
    assert any(folder.glob(".mlflow.db-*")), "the child was killed too early or too late"
    tracking_store.connect(Project(folder.parent))
    assert sorted(each.name for each in folder.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_concurrent_connects_create_one_store(
    creations: tuple[Path, dict[str, Any]],
) -> None:
    root, ends = creations
    assert ends["together"] == [0, 0, 0]
    assert sorted(each.name for each in (root / "together" / "mlflow").iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_store_of_another_mlflow_is_reported_with_the_upgrade_command(project: Project) -> None:
    with sqlite3.connect(project.mlflow / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(Unavailable, match="451aebb31d03") as caught:
        tracking_store.connect(project)
    assert caught.value.code == "mlflow.schema"
    assert "mlflow db upgrade sqlite:///" in caught.value.hint


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_file_that_is_not_a_store_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"mlflow\.db"):
        tracking_store.connect(Project(tmp_path))
    assert path.read_bytes() == content


def test_store_without_a_schema_revision_is_corrupt(project: Project) -> None:
    with sqlite3.connect(project.mlflow / "mlflow.db") as connection:
        connection.execute("DELETE FROM alembic_version")
    with pytest.raises(Corrupt) as caught:
        tracking_store.connect(project)
    assert caught.value.code == "mlflow.database-incomplete"


def test_dead_server_is_reported_within_fifteen_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 ") as caught:
        tracking_store.connect(Project(tmp_path, mlflow_uri="http://127.0.0.1:9"))
    assert time.monotonic() - started < 15
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


def test_postgresql_uri_is_rejected_without_printing_its_password(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI") as caught:
        tracking_store.connect(Project(tmp_path, mlflow_uri="postgresql://team:canary@host/mlflow"))
    assert caught.value.code == "mlflow.address-postgresql"
    assert "mlflow/compose.yaml" in caught.value.hint
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("uri", ["mysql://host/db", "file:///tmp/mlruns", "./mlruns"])
def test_unsupported_tracking_uri_is_rejected(tmp_path: Path, uri: str) -> None:
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI") as caught:
        tracking_store.connect(Project(tmp_path, mlflow_uri=uri))
    assert caught.value.code == "mlflow.address"


def test_experiment_is_created_once_with_an_absolute_artifact_location(client: MlflowClient, project: Project) -> None:
    first = tracking_store.ensure_experiment(client, "small")
    assert tracking_store.ensure_experiment(client, "small") == first
    assert client.get_experiment(first).artifact_location == f"{(project.mlflow / 'artifacts').as_uri()}/small"


def test_deleted_experiment_is_reported_with_the_restore_command(client: MlflowClient) -> None:
    client.delete_experiment(tracking_store.ensure_experiment(client, "small"))
    with pytest.raises(BadInput) as caught:
        tracking_store.ensure_experiment(client, "small")
    assert caught.value.code == "mlflow.experiment-deleted"
    assert "mlflow experiments restore" in caught.value.hint


def test_locked_database_is_unavailable(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    holder = connect(project.mlflow / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    # The timeout of 20 s is too long for a test.
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, **{**named, "timeout": 0.1}))
    with pytest.raises(Unavailable) as caught:
        tracking_store.connect(project)
    assert caught.value.code == "mlflow.database-locked"
    holder.close()
