"""A check of `doctor` that fails, and what it reports without a repair."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipelines.workspaces import Workspace

from modelworks.cli import main
from modelworks.cli.doctor import doctor as verb
from modelworks.cli.doctor import folders, installation, tracking
from modelworks.cli.doctor.finding import Finding, ok, repairable
from modelworks.errors import Interrupted, Refused
from modelworks.project import Project
from modelworks.registry.backend.tracking_store import connect
from modelworks.sqlite import databases as embedded


def test_failing_check_is_reported_and_the_others_run(
    made: Project, ask: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (made.locks / "opinions.holder").mkdir()
    with pytest.raises(Refused) as caught:
        ask(made)
    assert caught.value.message == "to repair by hand: folders"
    found = {each["what"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert "opinions.holder" in found["folders"]["detail"]
    assert found["MLflow's database"]["state"] == "ok"


@pytest.mark.slow
def test_library_that_cannot_be_imported_is_reported_and_the_others_are_checked(
    make_workspace: Callable[[Path], Workspace], made: Project, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mlflow.py").write_text('raise ImportError("half of it is missing")')
    workspace = make_workspace(made.root).with_environment(PYTHONPATH=str(tmp_path / "broken"))
    outcome = workspace.run("doctor", "--json")
    assert (outcome.code, outcome.error_code) == (3, "doctor.findings"), outcome.stderr
    assert "Traceback" not in outcome.stderr
    found = {each["what"]: each for each in outcome.object["findings"]}
    assert "half of it is missing" in found["import mlflow"]["detail"]
    assert "half of it is missing: rm -r .venv; make setup" in found["tracking"]["detail"]
    assert found["import prefect"]["state"] == found["lock of the store"]["state"] == "ok"


def _when_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(_: Project) -> Iterator[Finding]:
        yield ok("the first", "look")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(folders, "examine", examine)


def _when_repairing(monkeypatch: pytest.MonkeyPatch) -> None:
    def remedy() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "repaired"

    monkeypatch.setattr(folders, "examine", lambda _: [repairable("the first", "to be repaired", remedy)])


def _when_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(importlib, "import_module", load)
    monkeypatch.setattr(verb, "CHECKS", (installation, *verb.CHECKS))


def _when_asking_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(embedded, "fault_of", look)


def _when_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tracking, "choose_lock", look)


@pytest.mark.parametrize(
    "comes", [_when_looking, _when_repairing, _when_importing, _when_asking_a_database, _when_connecting]
)
def test_signal_stops_the_doctor(
    made: Project,
    ask: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    comes: Callable[[pytest.MonkeyPatch], None],
) -> None:
    comes(monkeypatch)
    before = signal.signal(signal.SIGTERM, main._stop)  # as the command does
    try:
        with pytest.raises(Interrupted) as caught:
            ask(made)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.exit_code == 143
    assert capsys.readouterr().out == ""


def test_holder_file_deleted_meanwhile_is_ignored(made: Project, ask: Callable[..., dict[str, Any]]) -> None:
    (made.locks / "opinions.holder").symlink_to("gone")  # listed, but missing when it is read
    assert ask(made)["notes of dead runs"]["state"] == "ok"


def test_damaged_database_is_reported_but_not_changed(made: Project, ask: Callable[..., dict[str, Any]]) -> None:
    path = made.mlflow / "mlflow.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Refused, match="MLflow's database"):
        ask(made)
    assert path.read_bytes() == b"not a database" * 1000


def test_alias_drift_is_reported_but_not_repaired(made: Project, ask: Callable[..., dict[str, Any]]) -> None:
    client = connect(made)
    client.create_registered_model("moved")
    client.create_model_version("moved", source=(made.root / "model").as_uri())
    client.set_registered_model_alias("moved", "production", "1")
    with pytest.raises(Refused, match="production"):
        ask(made)
