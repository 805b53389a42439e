"""Every verb works after whatever MLflow, DVC and Prefect themselves do to a project, and loses nothing of it."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from pipelines.clones import commit, make_clone, running_from
from pipelines.commands import Outcome
from pipelines.foreign import ACTIONS, NOTE, Foreign, several
from pipelines.ports import free_port
from pipelines.preloaded import Preloaded

from modelworks.cli.doctor import databases, folders, production, tracking
from modelworks.config import run_config as configuration
from modelworks.pipeline.status import pipeline_status
from modelworks.registry.backend.tracking_store import connect
from modelworks.registry.production import audit_queries
from modelworks.registry.production import promotion as moves
from modelworks.registry.verification import stored_files, verify_version
from modelworks.registry.versions import provenance_record, queries

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

CONFIG = "configs/small.yaml"
MODEL = "small"
SMALL = """
name: small
source: {kind: digits}
checks: {max_bad_share: 0.01}
model: {kind: cnn, hidden: 16}
train: {epochs: 2, batch_size: 32, optimizer: adamw, learning_rate: 0.004}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: {minimums: {accuracy: 0.3}, compare: accuracy, max_regression: 0.9}
"""


class Verbs:
    """The commands of one project, forked from a process that has the libraries."""

    def __init__(self, workspace: Workspace, preloaded: Preloaded) -> None:
        self.workspace, self.preloaded = workspace, preloaded

    def run(self, *arguments: str) -> Outcome:
        # With a server's address the doctor would not look at the project's own Prefect database.
        left_out = ("PREFECT_API_URL",) if arguments[0] == "doctor" else ()
        environment = self.workspace.without_environment(*left_out).environment
        return self.preloaded.run(arguments, self.workspace.root, environment)

    def done(self, *arguments: str) -> Any:
        outcome = self.run(*arguments, "--json")
        assert outcome.code == 0, f"{arguments}: {outcome.stdout[-2000:]}{outcome.stderr[-2000:]}"
        return outcome.object

    def serve(self) -> int:
        """The version that answers."""
        with self.workspace.running("serve", MODEL, "--port", "0", "--json") as background:
            assert background.process.stdout is not None
            text = ""
            while not text.endswith("}\n"):
                line = background.process.stdout.readline()
                assert line, background.finish()
                text += line
            background.signal(signal.SIGTERM)
            assert background.finish().code == 0
        return int(json.loads(text)["version"])

    def up(self) -> None:
        """Start the pages and the scheduler on free ports, open both pages, and stop with SIGINT."""
        mlflow, prefect = free_port(), free_port()
        ports = ("--mlflow-port", str(mlflow), "--prefect-port", str(prefect))
        own_server = self.workspace.without_environment("PREFECT_API_URL")
        with own_server.running("up", *ports) as background:
            assert background.process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("Ctrl-C"):
                lines.append(background.process.stdout.readline())
                assert lines[-1], background.finish()
            for name, port in (("MLflow ", mlflow), ("Prefect ", prefect)):
                assert any(line.startswith(name) and f"http://127.0.0.1:{port}/" in line for line in lines), lines
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    assert page.status == 200
            background.signal(signal.SIGINT)
            outcome = background.finish()
        assert outcome.code == 0, outcome


def every_verb(verbs: Verbs, seed: int) -> None:
    """Each verb once, all with something to do; production is the version of that seed afterwards."""
    before, change = verbs.workspace.production(MODEL), ("--set", f"train.seed={seed}")
    assert verbs.serve() == before, "a copy that was fetched earlier may be there"
    shutil.rmtree(verbs.workspace.root / ".modelworks" / "versions")
    new = verbs.done("run", CONFIG, *change)["production"]
    assert new != before
    assert set(verbs.done("run", CONFIG, *change)["stages"].values()) == {"verified", "cached"}
    assert verbs.done("why", CONFIG, *change)["nothing_to_do"] is True
    assert verbs.done("why", MODEL)["version"] == new
    assert verbs.done("rollback", MODEL)["production"] == before
    assert verbs.serve() == before
    assert verbs.done("rebuild", MODEL)["identical"] is True
    assert verbs.done("promote", MODEL, str(new))["production"] == new
    assert [move["after"] for move in verbs.done("history", MODEL)["moves"][:3]] == [new, before, new]
    assert verbs.done("trace", MODEL)["production"] is True
    (row,) = json.loads((verbs.workspace.root / "forgotten.json").read_text())["rows"]
    assert [each["version"] for each in verbs.done("trace", "--row", row["id"][:16])["versions"]] == [1]
    assert verbs.done("forget", row["id"][:16])["before"] == [row["id"]]
    verbs.up()
    doctor = verbs.done("doctor")
    assert doctor["ok"] is True
    assert any(each["what"] == f"production of {MODEL}" for each in doctor["findings"])


@pytest.fixture(scope="session")
def used(shared_project: Callable[..., Path], server_url: str) -> Path:
    """A clone in which two versions were made, by runs with a Prefect server of their own, and every verb was used."""

    def make(workspace: Workspace) -> None:
        make_clone(workspace.root)
        workspace.write_config(MODEL, SMALL)
        commit(workspace.root, "A small config")
        ours = replace(workspace, environment=running_from(workspace.root, workspace.environment))
        ours.done("run", CONFIG)
        row = pq.read_table(workspace.root / "data" / "digits" / "examples.parquet", columns=["id"])["id"][0].as_py()
        ours.done("forget", row)
        commit(workspace.root, "A row is forgotten")
        ours.done("run", CONFIG)
        ours = ours.with_environment(PREFECT_API_URL=server_url)  # which preloaded commands need
        with Preloaded(ours.environment, workspace.root.with_name("preloaded")) as preloaded:
            every_verb(Verbs(ours, preloaded), seed=1)

    return shared_project("used", make)


@pytest.fixture
def verbs(copy: Callable[[Path], Workspace], used: Path, server_url: str) -> Iterator[Verbs]:
    workspace = copy(used)
    workspace = replace(workspace, environment=running_from(workspace.root, workspace.environment))
    workspace = workspace.with_environment(PREFECT_API_URL=server_url)
    with Preloaded(workspace.environment, workspace.root.with_name("preloaded")) as preloaded:
        yield Verbs(workspace, preloaded)


@pytest.mark.slow
def test_every_verb_works_after_many_foreign_actions(
    copy: Callable[[Path], Workspace], two_versions: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The short form: the verbs' own functions in this process."""
    workspace = copy(two_versions)
    project, name = workspace.project, "digits-cnn"
    for variable, value in project.environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(project.root)
    shutil.rmtree(project.state / "versions", ignore_errors=True)
    foreign = Foreign(project, name, workspace.environment)
    several(foreign)

    client = connect(project)
    changes = json.loads(two_versions.with_name("made.json").read_text())["changes"]
    settings = configuration.load(project.root / "configs" / "digits_cnn.yaml", changes[1::2])
    assert pipeline_status(project, settings).promotion is not None, "run, why: nothing to do"
    stored_files.check_quickly(project, name, 2)
    for number in (1, 2):
        assert verify_version.package_folder(client, project, name, number).is_dir(), "serve, rebuild, the gate"
        assert provenance_record.read_all(client, queries.get(client, name, number), tmp_path).files, "trace, rebuild"
    assert moves.rollback(client, project, name, reason="", who="a test") is not None
    given = {"expected": 1, "reason": "", "who": "a test", "evidence": {}}
    assert moves.promote(client, project, name, 2, proof=lambda *_: {}, **given) is not None
    assert [move.after for move in audit_queries.history(client, name)] == [2, 1, 2, 1]
    found = [each for room in (folders, databases, tracking, production) for each in room.examine(project)]
    assert [each for each in found if each.state != "ok"] == []
    _assert_kept(foreign, foreign.production, name)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the first of them makes the project
@pytest.mark.parametrize("action", ACTIONS)
def test_every_verb_works_before_and_after_a_foreign_action(verbs: Verbs, action: str) -> None:
    foreign = Foreign(verbs.workspace.project, MODEL, verbs.workspace.environment)
    ACTIONS[action](foreign)  # after every verb: the project was made so
    entry = foreign.production
    every_verb(verbs, seed=2)
    if "note" in action:
        _assert_kept(foreign, entry, MODEL)


def _assert_kept(foreign: Foreign, entry: Any, name: str) -> None:
    """What a person wrote in MLflow's page is where they wrote it."""
    run = foreign.client.get_run(entry.run_id)
    version, model = foreign.client.get_model_version(name, entry.version), foreign.client.get_registered_model(name)
    assert run.info.run_name == "the good one"
    assert all(NOTE in each for each in (run.data.tags["mlflow.note.content"], version.description, model.description))
    for tags in (run.data.tags, version.tags, model.tags):
        assert tags["reviewed by"] == "Ann"
    assert model.aliases["favourite"] == entry.version
