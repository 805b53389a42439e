"""The same library against a tracking server, as a team has it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.registry import journal, production, registration, runs, store, versions
from modelworks.registry.curves import MetricStream
from modelworks.registry.glance import Glance, glance

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.records import Evaluation, Verdict
    from modelworks.registry.witness import Witness


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of a server with its own store, its artifacts reached through it alone."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                break
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)  # between attempts; what is waited for is the answer
    yield address, process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_server_serves_registration_promotion_and_curves_and_its_outages_are_said(
    tmp_path: Path,
    project: Project,
    server: tuple[str, subprocess.Popen[bytes]],
    evaluate: Callable[..., Evaluation],
    judge: Callable[..., Verdict],
    witness: Witness,
) -> None:
    address, process = server
    shared = Project(project.root, mlflow_uri=address)
    client = store.connect(shared)
    run_id = runs.start(
        client, shared, experiment="small", parameters={"a": "1"}, prefect_flow_run_id="", prefect_url=""
    )
    evaluation = evaluate()
    runs.log_dataset(client, run_id, evaluation.trained.report.dataset)
    runs.log_validation(client, run_id, evaluation.trained.report)
    runs.log_evaluation(client, run_id, evaluation)

    version = registration.register(client, shared, evaluation, name="small", key="a", run_id=run_id)
    assert registration.register(client, shared, evaluation, name="small", key="a", run_id=run_id) == version
    registration.record_verdict(client, judge(version))
    named = {"reason": "r", "who": "w", "evidence": {}, "witness": witness}
    assert production.promote(client, shared, "small", 1, expected=0, **named) == 1
    assert [move.state for move in journal.history(client, "small")] == ["done"]
    assert glance(shared, "small", "a") == Glance(version=versions.get(client, "small", 1), production=1)

    # The server hangs: nothing is raised while training, a new start says so, and nothing is lost when it is back.
    stream = MetricStream(client, run_id, seconds=0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    for step in range(50):
        stream.add({"type": "step", "step": step, "time": 1000.0 + step, "loss": 0.5})
    started = time.monotonic()
    with pytest.raises(Unavailable, match=address):
        store.connect(shared)
    assert time.monotonic() - started < 15
    os.killpg(process.pid, signal.SIGCONT)
    stream.close()
    assert len(client.get_metric_history(run_id, "training/loss")) == 50
    runs.finish(client, run_id, "FINISHED")

    os.killpg(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match=address) as caught:
        versions.production(client, "small")
    assert "start the server" in caught.value.hint
