"""Registration, promotion and metrics with a tracking server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pipelines.tracking_server import tracking_server
from samples.makings import PROVENANCE

from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.registry.backend import tracking_store
from modelworks.registry.backend.sqlite_fast_path import RegistryState, registry_state
from modelworks.registry.production import audit_log, promotion
from modelworks.registry.tracking import dataset_input, runs
from modelworks.registry.tracking.metric_stream import MetricStream
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.versions import queries, registration

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.records import Evaluation, Verdict
    from modelworks.registry.verification.isolated_process import IsolatedModel


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """URL and process of a server with its own store, which serves the artifacts."""
    with tracking_server(tmp_path / "server", empty_store) as started:
        yield started


@pytest.mark.slow
def test_registration_promotion_metrics_and_outages_with_a_server(
    tmp_path: Path,
    project: Project,
    server: tuple[str, subprocess.Popen[bytes]],
    evaluate: Callable[..., Evaluation],
    judge: Callable[..., Verdict],
    isolated_model: IsolatedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the lock of a server is in the home folder
    address, process = server
    shared = Project(project.root, mlflow_uri=address)
    client = tracking_store.connect(shared)
    run_id = runs.start(
        client, shared, experiment="small", parameters={"a": "1"}, prefect_flow_run_id="", prefect_url=""
    )
    evaluation = evaluate()
    dataset_input.log_dataset(client, run_id, evaluation.trained.report.dataset)
    runs.log_validation(client, run_id, evaluation.trained.report)
    runs.log_evaluation(client, run_id, evaluation)

    version = registration.register(
        client, shared, evaluation, provenance=PROVENANCE, name="small", key="a", run_id=run_id
    )
    assert (
        registration.register(client, shared, evaluation, provenance=PROVENANCE, name="small", key="a", run_id=run_id)
        == version
    )
    registration.record_verdict(client, judge(version))
    named = {"reason": "r", "who": "w", "evidence": {}, "proof": partial(prove, process=isolated_model)}
    assert promotion.promote(client, shared, "small", 1, expected=0, **named) is not None
    assert [move.state for move in audit_log.history(client, "small")] == ["done"]
    assert registry_state(shared, "small", "a") == RegistryState(version=queries.get(client, "small", 1), production=1)

    # The server hangs: training continues, a new connection fails, and no metric is lost after it resumes.
    stream = MetricStream(client, run_id, seconds=0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    for step in range(50):
        stream.add({"type": "step", "step": step, "time": 1000.0 + step, "loss": 0.5})
    started = time.monotonic()
    with pytest.raises(Unavailable, match=address) as caught:
        tracking_store.connect(shared)
    assert caught.value.code == "mlflow.unavailable"
    assert time.monotonic() - started < 15
    os.killpg(process.pid, signal.SIGCONT)
    stream.close()
    assert len(client.get_metric_history(run_id, "training/loss")) == 50
    runs.finish(client, run_id, "FINISHED")

    os.killpg(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match=address) as caught:
        queries.production(client, "small")
    assert "start the server" in caught.value.hint
