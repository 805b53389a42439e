"""What people do to a project with MLflow, DVC and Prefect themselves: their commands, and the calls of their pages."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands import DEADLINE

from modelworks.servers.no_proxy import ask
from modelworks.servers.prefect_client import start_server

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["ACTIONS", "NOTE", "Foreign", "several"]

NOTE = "Seen by Ann: the sevens need more rows."
"""What a person writes into every description."""
SEVERAL = """
import sys
from dvc.cli import main
for command in ("status", "checkout", "gc --workspace --force", "fetch"):
    assert main(command.split()) == 0, command
import mlflow.artifacts, mlflow.pyfunc
name, number, run = sys.argv[1:]
for address in (f"models:/{name}@production", f"models:/{name}/{number}"):
    mlflow.pyfunc.load_model(address)
    mlflow.artifacts.download_artifacts(artifact_uri=address)
mlflow.artifacts.download_artifacts(run_id=run)
"""
"""Commands of DVC, loads and downloads of MLflow, in one process that imports both once."""
LOAD = "import sys, mlflow.pyfunc\nfor each in sys.argv[1:]: mlflow.pyfunc.load_model(each)"


class Foreign:
    """A project seen by the tools it is made of."""

    def __init__(self, project: Project, model: str, environment: Mapping[str, str]) -> None:
        self.project, self.model = project, model
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**environment, **project.environment(), "PATH": path}

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.project.tracking_uri)

    @property
    def production(self) -> Any:
        """MLflow's entry of the production version."""
        return self.client.get_model_version_by_alias(self.model, "production")

    def python(self, *arguments: str) -> str:
        """What a Python process prints, started in the project as a user would."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.project.root, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def server(self, *arguments: str, health: str) -> Iterator[str]:
        """The address of a server of MLflow's command line, once it answers."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--port", str(port)],
            cwd=self.project.root,
            env={**self.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + DEADLINE
            while not _answers(f"http://127.0.0.1:{port}/{health}"):
                assert process.poll() is None, f"mlflow {arguments[0]} ended"
                assert time.monotonic() < deadline, f"mlflow {arguments[0]} did not start"
                time.sleep(0.2)  # between attempts; what is waited for is the answer
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def several(foreign: Foreign) -> None:
    """What takes no server, at once: all of DVC, and of MLflow loads, downloads, a restored run and edits."""
    client, entry, name = foreign.client, foreign.production, foreign.model
    foreign.python("-c", SEVERAL, name, "1", entry.run_id)
    client.delete_run(entry.run_id)
    client.restore_run(entry.run_id)
    client.set_tag(entry.run_id, "mlflow.note.content", NOTE)
    client.set_tag(entry.run_id, "reviewed by", "Ann")
    client.update_run(entry.run_id, name="the good one")
    client.update_model_version(name, entry.version, NOTE)
    client.set_model_version_tag(name, entry.version, "reviewed by", "Ann")
    client.update_registered_model(name, NOTE)
    client.set_registered_model_tag(name, "reviewed by", "Ann")
    client.set_registered_model_alias(name, "favourite", entry.version)


def load_model(foreign: Foreign) -> None:
    """By alias, number and id of the model, as the README and MLflow's page say."""
    identity = str(foreign.production.source).split("/")[-2]
    name = foreign.model
    foreign.python("-c", LOAD, f"models:/{name}@production", f"models:/{name}/1", f"models:/{identity}")


def models_serve(foreign: Foreign) -> None:
    """MLflow's own scoring server over production."""
    with foreign.server(
        "models", "serve", "-m", f"models:/{foreign.model}@production", "--env-manager", "local", health="ping"
    ):
        pass


def artifacts_download(foreign: Foreign) -> None:
    """The production version, and all that its run has."""
    foreign.python("-m", "mlflow", "artifacts", "download", "-u", f"models:/{foreign.model}@production")
    foreign.python("-m", "mlflow", "artifacts", "download", "-r", foreign.production.run_id)


def run_restored(foreign: Foreign) -> None:
    """The run of production deleted in the page, and restored."""
    foreign.client.delete_run(foreign.production.run_id)
    foreign.python("-m", "mlflow", "runs", "restore", "--run-id", foreign.production.run_id)


def page_edited(foreign: Foreign) -> None:
    """Descriptions, tags, a run's name and an alias edited in MLflow's page, by the page's own calls."""
    entry, name = foreign.production, foreign.model
    version, tag = {"name": name, "version": str(entry.version)}, {"key": "reviewed by", "value": "Ann"}
    experiment = foreign.client.get_run(entry.run_id).info.experiment_id
    store = ("--backend-store-uri", foreign.project.tracking_uri, "--workers", "1")
    with foreign.server("server", *store, health="health") as address:
        for method, path, body in (
            ("POST", "runs/set-tag", {"run_id": entry.run_id, "key": "mlflow.note.content", "value": NOTE}),
            ("POST", "runs/set-tag", {"run_id": entry.run_id, **tag}),
            ("POST", "runs/update", {"run_id": entry.run_id, "run_name": "the good one"}),
            ("POST", "experiments/set-experiment-tag", {"experiment_id": experiment, **tag}),
            (
                "POST",
                "experiments/set-experiment-tag",
                {"experiment_id": experiment, "key": "mlflow.note.content", "value": NOTE},
            ),
            ("PATCH", "model-versions/update", {**version, "description": NOTE}),
            ("POST", "model-versions/set-tag", {**version, **tag}),
            ("PATCH", "registered-models/update", {"name": name, "description": NOTE}),
            ("POST", "registered-models/set-tag", {"name": name, **tag}),
            ("POST", "registered-models/alias", {**version, "alias": "favourite"}),
        ):
            _ask(f"{address}/ajax-api/2.0/mlflow/{path}", method, body)


def prefect_run_retried_and_cancelled(foreign: Foreign) -> None:
    """Cancel the two newest runs in Prefect's page, and press Retry for one, by the page's own calls."""
    cancel = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}
    cancelled = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}, "force": False}
    # The runs that `modelworks up` planned have not started.
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    server = start_server(foreign.project)
    try:
        address = server.wait()
        question = {"flow_runs": completed, "sort": "START_TIME_DESC", "limit": 2}
        first, second = _ask(f"{address}/flow_runs/filter", "POST", question)
        for run, step, status in (
            (first, cancel, "ACCEPT"),
            (first, cancelled, "ACCEPT"),
            (first, retry, "ABORT"),  # Prefect retries runs of deployments only; this one is of the command line
            (second, cancel, "ACCEPT"),
        ):
            answer = _ask(f"{address}/flow_runs/{run['id']}/set_state", "POST", step)
            assert answer["status"] == status, answer
    finally:
        server.stop()


def _dvc(*arguments: str) -> Callable[[Foreign], None]:
    def act(foreign: Foreign) -> None:
        foreign.python("-m", "dvc", *arguments)

    return act


ACTIONS: dict[str, Callable[[Foreign], None]] = {
    "load_model": load_model,
    "mlflow models serve": models_serve,
    "mlflow artifacts download": artifacts_download,
    "mlflow runs restore": run_restored,
    "a note and a tag in MLflow's page": page_edited,
    "dvc status": _dvc("status"),
    "dvc checkout": _dvc("checkout"),
    "dvc gc": _dvc("gc", "--workspace", "--force"),
    "dvc fetch": _dvc("fetch"),
    "a run retried and cancelled in Prefect's page": prefect_run_retried_and_cancelled,
}


def _answers(address: str) -> bool:
    try:
        with ask(address, 5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _ask(address: str, method: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            answer = error.read().decode()
        raise AssertionError(f"{method} {address} {body}: {error.code} {answer}") from error
