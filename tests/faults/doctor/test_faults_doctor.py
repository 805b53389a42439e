"""`doctor` repairs what crashes leave; its dry run reports the same and changes no byte."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from faults.invariants import Aftermath, no_run_is_open
from faults.invariants import Reference as Undisturbed
from faults.projects import PIPELINES, FaultWorkspace

from modelworks.cli.doctor import databases
from modelworks.data.dvc_storage import object_cache
from modelworks.errors import Refused
from modelworks.pipeline.stage_store import GRACE_SECONDS
from modelworks.project import Project
from modelworks.registry.backend.tracking_store import build_schema
from modelworks.servers.prefect_client import up_notice
from modelworks.sqlite import databases as embedded

BUILD = {
    "mlflow": "from modelworks.registry.backend.tracking_store import build_schema",
    "prefect": "from modelworks.servers.prefect_server import build_schema",
}
"""Code that creates each library's schema in a file, not atomically."""


@pytest.fixture(scope="session")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> FaultWorkspace:
    """A project whose run, with its own Prefect server, was killed during the upload of a model."""
    workspace = FaultWorkspace(tmp_path_factory.mktemp("crashed"), PIPELINES["transformer"])
    workspace.clear()
    outcome = workspace.run(fault="package.after_create")
    assert outcome.killed, outcome.stderr
    return workspace


@pytest.fixture
def damaged_project(crashed: FaultWorkspace) -> Iterator[FaultWorkspace]:
    """That project with every other repairable problem."""
    crashed.save("as it was")
    state = crashed.project.state
    # DVC's rwlock, written incompletely.
    (crashed.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    (crashed.root / ".dvc" / "tmp" / "rwlock").write_text('{"/some/pa')
    # A stage output with a flipped bit, and a temporary folder of a killed writer.
    (output,) = (path for path in (state / "stages" / "train").iterdir() if not path.name.startswith("."))
    weights = output / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for folder in (state / "stages" / "score" / ".left-1", state / "versions" / ".fetch-1"):
        folder.mkdir(parents=True)
        (folder / "half").write_text("half")
        os.utime(folder, (folder.stat().st_mtime - 2 * GRACE_SECONDS,) * 2)
    (half := object_cache.cache(crashed.project) / "ab" / ".copying.tmp").parent.mkdir(parents=True, exist_ok=True)
    half.write_text("half")
    os.utime(half, (half.stat().st_mtime - 2 * GRACE_SECONDS,) * 2)
    (crashed.project.mlflow / ".mlflow.db-killed").mkdir()
    (state / ".ingest-killed").mkdir()
    yield crashed
    crashed.restore("as it was")


def bytes_of(root: Path) -> dict[str, str]:
    """Return digests of all files and folders, except the shared-memory index of SQLite's log."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
        if not path.name.endswith("-shm")
    }


DAMAGES = (
    "DVC's lock",
    "notes of dead runs",
    "leftovers of killed runs",
    "half-made databases",
    "stage outputs",
    "half-fetched versions",
    "half-brought data",
    "half-written objects",
    "Prefect's runs of dead processes",
    "runs of dead processes",
)


@pytest.mark.slow
def test_doctor_repairs_what_its_dry_run_reports(
    damaged_project: FaultWorkspace, ask: Callable[..., dict[str, Any]]
) -> None:
    before = bytes_of(damaged_project.root)
    found = ask(damaged_project.project, dry_run=True)
    assert {what for what, each in found.items() if each["state"] == "would repair"} == set(DAMAGES), found
    assert bytes_of(damaged_project.root) == before

    repaired = ask(damaged_project.project)
    assert {what for what, each in repaired.items() if each["state"] == "repaired"} == set(DAMAGES), repaired
    assert "1 flow runs" in repaired["Prefect's runs of dead processes"]["detail"]
    assert "1 runs, 1 models" in repaired["runs of dead processes"]["detail"]
    assert list(no_run_is_open(Aftermath(damaged_project, [], Undisturbed("", {})))) == []
    with closing(sqlite3.connect(damaged_project.project.prefect_home / "prefect.db")) as connection:
        assert connection.execute("SELECT DISTINCT state_type FROM flow_run").fetchall() == [("CRASHED",)]
        assert connection.execute("SELECT count(*) FROM task_run WHERE state_type = 'RUNNING'").fetchall() == [(0,)]

    again = ask(damaged_project.project)
    assert {each["state"] for each in again.values()} == {"ok"}, again


@pytest.mark.slow
def test_doctor_dry_run_prints_json_and_changes_nothing(crashed: FaultWorkspace) -> None:
    before = bytes_of(crashed.root)
    outcome = crashed.command("doctor", "--dry-run", "--json")
    assert outcome.code == 0, outcome.stderr
    found = {each["what"]: each["state"] for each in outcome.object["findings"]}
    assert found["runs of dead processes"] == "would repair"
    assert found["import mlflow"] == "ok"
    assert bytes_of(crashed.root) == before


def test_dry_run_in_a_new_project_creates_nothing(tmp_path: Path, ask: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "configs").mkdir()
    assert {each["state"] for each in ask(Project(tmp_path), dry_run=True).values()} == {"ok"}
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


@pytest.mark.parametrize("library", ["mlflow", pytest.param("prefect", marks=pytest.mark.slow)])
def test_interrupted_migration_is_reported_with_a_hint(tmp_path: Path, library: str) -> None:
    project = Project(tmp_path)
    project.make_private_folders()
    project.mlflow.mkdir()
    path = {"mlflow": project.mlflow / "mlflow.db", "prefect": project.prefect_home / "prefect.db"}[library]
    environment = {**os.environ, "PREFECT_HOME": str(project.prefect_home)}
    program = f"import sys\nfrom pathlib import Path\n{BUILD[library]}\nbuild_schema(Path(sys.argv[1]))\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while _tables(path) < 5:
            assert process.poll() is None, "it ended before the kill"
        os.killpg(process.pid, signal.SIGKILL)

    before = path.read_bytes()
    (finding,) = (each for each in databases.examine(project) if str(path) in each.detail)
    assert (finding.state, finding.repair) == ("failing", None)
    assert "columns are missing" in finding.detail
    assert "restore a backup, or move the file away" in finding.detail
    assert path.read_bytes() == before
    path.rename(path.with_suffix(".old"))  # follow the hint
    assert {each.state for each in databases.examine(project)} == {"ok"}


def test_missing_column_and_other_revision_are_reported(made: Project) -> None:
    path = made.mlflow / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE runs DROP COLUMN source_name")
        connection.execute("UPDATE alembic_version SET version_num = 'an earlier one'")
    fault = embedded.fault_of(path, "mlflow", build_schema)
    assert fault.startswith("its revision is an earlier one, not ")
    assert fault.endswith("1 columns are missing, e.g. runs.source_name")


def _tables(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


class Busy(BaseHTTPRequestHandler):
    """A Prefect server that reports health and fails every other request."""

    def do_GET(self) -> None:
        """Report health; 422 is Prefect's reply about CSRF tokens if they are disabled."""
        answer = b""
        if "/csrf-token" in self.path:
            self.send_response(HTTPStatus.UNPROCESSABLE_ENTITY)
            answer = b'{"detail": "CSRF protection is disabled."}'
        else:
            self.send_response(HTTPStatus.OK if self.path.endswith("/health") else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


@pytest.fixture
def busy(damaged_project: FaultWorkspace) -> Iterator[None]:
    """Such a server, registered as that of `modelworks up`."""
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        up_notice(damaged_project.project).write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
        yield
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_failing_server_is_reported_and_the_rest_is_repaired(
    damaged_project: FaultWorkspace, ask: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused) as caught:
        ask(damaged_project.project)
    assert caught.value.message == "to repair by hand: Prefect's runs of dead processes"
    found = {each["what"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert "503" in found["Prefect's runs of dead processes"]["detail"]
    assert found["runs of dead processes"]["state"] == "repaired"
