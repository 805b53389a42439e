"""Killed, stopped and concurrent runs: finished work is kept, nothing is done twice, no process is left."""

from __future__ import annotations

import re
import signal
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from modelworks.registry.verification import isolated_process
from modelworks.training.launchers.local import TERM_SECONDS

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

TRAINER, SERVER = "modelworks.training", "modelworks.servers.prefect_server"
ISOLATED_PROCESS = str(Path(isolated_process.__file__).with_name("isolated_main.py"))
LONG = ["run", "configs/digits_cnn.yaml", "--json"]
"""A run with many steps and checkpoints, so that the training has not ended when the signal is sent."""
for _change in (
    "train.epochs=60",
    "train.batch_size=128",
    "train.checkpoint_seconds=0.05",
    "model.hidden=8",
    "compute.threads=1",
    "evaluate.resamples=100",
    "gate.max_regression=0.9",
    "gate.minimums.accuracy=0.1",
):
    LONG += ["--set", _change]


@pytest.mark.slow
def test_killed_trainer_is_restarted_and_resumes_within_the_run(after_digits: Workspace) -> None:
    with after_digits.running(*LONG) as run:
        run.wait_until(after_digits.has_checkpoint)
        run.child(TRAINER).kill()
        outcome = run.finish()
    assert outcome.code == 0, outcome.stderr
    assert outcome.object["stages"]["train"] == "resumed"
    assert "resuming from step" in outcome.stderr
    assert after_digits.registered() == {"digits-cnn": [1, 2]}
    steps = after_digits.client.get_metric_history(outcome.object["mlflow_run_id"], "training/loss")
    assert len({point.step for point in steps}) == len(steps)
    assert after_digits.client.get_run(outcome.object["mlflow_run_id"]).info.status == "FINISHED"


@pytest.mark.slow
def test_killed_isolated_process_is_replaced_within_the_run(after_digits: Workspace) -> None:
    another = ("--set", "train.epochs=5", "--set", "gate.max_regression=0.9")
    with after_digits.running("run", "configs/digits_cnn.yaml", *another, "--json") as run:
        run.child(ISOLATED_PROCESS).kill()
        outcome = run.finish()
    assert outcome.code == 0, outcome.stderr
    assert outcome.object["stages"]["promote"] == "ran"
    assert after_digits.production("digits-cnn") == 2
    first, second, _ = after_digits.done("history", "digits-cnn")["moves"]
    assert (first["state"], second["state"]) == ("done", "abandoned")
    assert "-9" in second["because"]


@pytest.mark.slow
def test_killed_run_leaves_no_process_and_the_next_one_resumes(after_digits: Workspace, server_url: str) -> None:
    alone = after_digits.without_environment("PREFECT_API_URL")
    with alone.running(*LONG) as run:
        run.wait_until(after_digits.has_checkpoint)
        children = [run.child(TRAINER), run.child(SERVER), *run.children()]
        run.signal(signal.SIGKILL)
        run.process.wait()
        assert psutil.wait_procs(children, timeout=60)[1] == []
    assert [each.info.status for each in after_digits.runs("digits-cnn")] == ["FINISHED", "RUNNING"]

    outcome = after_digits.run(*LONG)
    assert outcome.code == 0, outcome.stderr
    assert outcome.object["stages"] == {
        "ingest": "verified",
        "validate": "cached",
        "train": "resumed",
        "score": "ran",
        "register": "ran",
        "gate": "ran",
        "promote": "ran",
    }
    assert [each.info.status for each in after_digits.runs("digits-cnn")] == ["FINISHED", "KILLED", "FINISHED"]
    assert after_digits.registered() == {"digits-cnn": [1, 2]}
    assert after_digits.production("digits-cnn") == 2
    assert not list((after_digits.root / ".modelworks" / "training").iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_stopped_run_keeps_a_checkpoint_and_prints_a_hint(
    after_digits: Workspace, number: signal.Signals, code: int
) -> None:
    with after_digits.running(*LONG) as run:
        run.wait_until(after_digits.has_checkpoint)
        children = run.children()
        run.signal(number)
        outcome = run.finish()
    assert (outcome.code, outcome.error_code) == (code, "interrupted")
    assert number.name in outcome.complaint[0]
    assert "run the same command again" in outcome.complaint[1]
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert [each.info.status for each in after_digits.runs("digits-cnn")] == ["FINISHED", "KILLED"]
    assert after_digits.has_checkpoint()
    assert after_digits.registered() == {"digits-cnn": [1]}


@pytest.mark.slow
def test_run_cancelled_in_prefect_keeps_a_checkpoint_and_prints_a_hint(
    after_digits: Workspace, server_url: str
) -> None:
    started = datetime.now(UTC)
    with temporary_settings({PREFECT_API_URL: server_url}), get_client(sync_client=True) as client:
        with after_digits.running(*LONG) as run:
            run.wait_until(after_digits.has_checkpoint)
            running = FlowRunFilterStartTime.model_validate({"after_": started})
            (found,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(start_time=running))
            client.set_flow_run_state(found.id, Cancelling())  # as Prefect's UI does
            outcome = run.finish()
        state = client.read_flow_run(found.id).state
    assert (outcome.code, outcome.error_code) == (130, "interrupted"), outcome.stderr
    assert "cancellation in Prefect" in outcome.complaint[0]
    assert "run the same command again" in outcome.complaint[1]
    assert "Traceback" not in outcome.stderr
    assert state is not None
    assert state.is_cancelled(), state
    assert [each.info.status for each in after_digits.runs("digits-cnn")] == ["FINISHED", "KILLED"]
    assert after_digits.has_checkpoint()
    assert after_digits.registered() == {"digits-cnn": [1]}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads pending signals from /proc")
def test_second_ctrl_c_ends_a_run_that_waits_for_its_checkpoint_and_the_next_resumes(
    after_digits: Workspace,
) -> None:
    with after_digits.running(*LONG) as run:
        run.wait_until(after_digits.has_checkpoint)
        children, trainer = run.children(), run.child(TRAINER)
        trainer.suspend()  # so that it does not write the checkpoint
        # A process takes SIGTERM before SIGSTOP if both arrive while it runs: then none would be pending.
        run.wait_until(lambda: trainer.status() == psutil.STATUS_STOPPED)
        run.signal(signal.SIGINT)
        run.wait_until(lambda: _sigterm_is_pending(trainer))
        sent = time.monotonic()
        run.signal(signal.SIGINT)
        outcome = run.finish()
        assert time.monotonic() - sent < TERM_SECONDS / 2
    assert (outcome.code, outcome.error_code) == (130, "interrupted")
    assert "Traceback" not in outcome.stderr
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert [each.info.status for each in after_digits.runs("digits-cnn")] == ["FINISHED", "KILLED"]
    assert list((after_digits.root / ".modelworks" / "stages" / "train").glob(".*")) == []
    with closing(sqlite3.connect(after_digits.root / "mlflow" / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    following = after_digits.run(*LONG)
    assert following.code == 0, following.stderr
    assert following.object["stages"]["train"] == "resumed"
    assert after_digits.registered() == {"digits-cnn": [1, 2]}
    assert after_digits.production("digits-cnn") == 2


@pytest.mark.slow
def test_same_pipeline_runs_once_at_a_time(after_digits: Workspace) -> None:
    with after_digits.running(*LONG) as first:
        first.wait_until(after_digits.has_checkpoint)
        second = after_digits.run(*LONG)
        assert (second.code, second.error_code) == (4, "lock.held")
        assert re.search(rf"pid {first.process.pid} on \S+ since 20..-..-.. ..:.. UTC", second.complaint[0])
        assert len(second.complaint) == 2
        assert first.process.poll() is None
    assert after_digits.registered() == {"digits-cnn": [1]}


def _sigterm_is_pending(process: psutil.Process) -> bool:
    """Return whether SIGTERM is pending for a stopped process; False if it ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except FileNotFoundError:
        return False
    (pending,) = re.findall(r"^ShdPnd:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(pending, 16) & 1 << signal.SIGTERM - 1)
