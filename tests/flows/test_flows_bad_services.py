"""A service that is away, bytes that are damaged, a disk that cannot be written: found before training, named."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tracking_server import LossyProxy

if TYPE_CHECKING:
    from commands import Outcome
    from conftest import Workspace

DIGITS = "configs/digits_cnn.yaml"
BOUND = 40.0
"""Seconds: ours is 15 on a quiet machine."""
LABELS, SLOT = r"PATCH .*/labels", r"POST .*/increment"
"""Requests of every run."""


def dead_address() -> str:
    """Where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def assert_clear(outcome: Outcome, code: int, said: str) -> None:
    assert outcome.code == code, outcome.stderr
    assert said in outcome.complaint[0]
    assert len(outcome.complaint) == 2
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert "train     ..." not in outcome.stderr


def test_a_dead_tracking_server_is_found_before_training(workspace: Workspace) -> None:
    address = dead_address()
    outcome = workspace.with_environment(MLFLOW_TRACKING_URI=address).run("run", DIGITS, "--json")
    assert_clear(outcome, 4, f"the MLflow server {address} does not answer")
    assert "MLFLOW_TRACKING_URI" in outcome.complaint[1]
    assert outcome.seconds < BOUND


def test_a_tracking_address_of_another_kind_is_refused(workspace: Workspace) -> None:
    outcome = workspace.with_environment(MLFLOW_TRACKING_URI="file:///tmp/runs").run("run", DIGITS, "--json")
    assert_clear(outcome, 2, "MLFLOW_TRACKING_URI: file:///tmp/runs is neither")


def test_a_dead_prefect_server_is_found_before_training(workspace: Workspace) -> None:
    address = f"{dead_address()}/api"
    outcome = workspace.with_environment(PREFECT_API_URL=address).run("run", DIGITS, "--json")
    assert_clear(outcome, 4, f"PREFECT_API_URL: nothing answers at {address}")
    assert outcome.seconds < BOUND


def test_a_prefect_server_that_fails_in_the_middle_is_said_and_the_next_run_goes_on(workspace: Workspace) -> None:
    proxy = LossyProxy(workspace.environment["PREFECT_API_URL"].removesuffix("/api"))
    try:
        proxy.broken[SLOT] = 503
        beyond = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api", PREFECT_CLIENT_MAX_RETRIES="0")
        outcome = beyond.run("run", DIGITS, "--json")
        assert_clear(outcome, 4, f"Prefect's server {proxy.address}/api fails: ")
        assert "run again" in outcome.complaint[1]
        assert proxy.faults
        proxy.mend()
        # With the client's patience again: a server on a busy machine has a 503 of its own now and then.
        patient = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api")
        assert patient.run("run", DIGITS, "--json").code == 0
    finally:
        proxy.close()


@pytest.mark.parametrize("status", [408, 429])
def test_a_prefect_server_that_asks_for_patience_is_one_that_fails(workspace: Workspace, status: int) -> None:
    outcome = _answered(workspace, status)
    assert outcome.code == 4, outcome.stderr
    assert "fails: " in outcome.complaint[0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_prefect_server_that_refuses_us_is_not_said_to_fail(workspace: Workspace, status: int) -> None:
    outcome = _answered(workspace, status)
    assert outcome.code == 2, outcome.stderr
    assert "refuses: " in outcome.complaint[0]
    assert "PREFECT_API_AUTH_STRING" in outcome.complaint[1]


@pytest.mark.parametrize(("status", "request_"), [(409, LABELS), (422, LABELS), (422, SLOT)])
def test_a_request_that_prefect_calls_wrong_is_our_own_bug(workspace: Workspace, status: int, request_: str) -> None:
    outcome = _answered(workspace, status, request_)
    assert outcome.code == 1, outcome.stderr
    assert outcome.complaint == []
    assert f"error '{status} " in outcome.stderr


def _answered(workspace: Workspace, status: int, request: str = LABELS) -> Outcome:
    """A run of which Prefect's server answers one request so."""
    proxy = LossyProxy(workspace.environment["PREFECT_API_URL"].removesuffix("/api"))
    try:
        proxy.broken[request] = status
        beyond = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api", PREFECT_CLIENT_MAX_RETRIES="0")
        outcome = beyond.run("run", DIGITS, "--json")
        assert proxy.faults
        return outcome
    finally:
        proxy.close()


def test_a_damaged_tracking_store_is_named(workspace: Workspace) -> None:
    (workspace.root / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
    outcome = workspace.run("run", DIGITS, "--json")
    assert_clear(outcome, 5, f"{workspace.root}/mlflow/mlflow.db cannot be read")


def lose_data(workspace: Workspace) -> None:
    """As on a fresh clone: the pin is there, the data are at the remote."""
    shutil.rmtree(workspace.root / "data")
    shutil.rmtree(workspace.root / ".dvc" / "cache")


def test_a_missing_dvc_remote_is_named(after_digits: Workspace, tmp_path: Path) -> None:
    lose_data(after_digits)
    config = after_digits.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../.modelworks/dvc-remote", str(tmp_path / "unmounted")))
    outcome = after_digits.run("run", DIGITS, "--json")
    assert_clear(outcome, 4, f"DVC remote {tmp_path / 'unmounted'} does not exist")
    assert after_digits.production("digits-cnn") == 1


def test_a_corrupt_dvc_remote_is_named_with_the_file(after_digits: Workspace) -> None:
    lose_data(after_digits)
    remote = after_digits.root / ".modelworks" / "dvc-remote"
    largest = max((path for path in remote.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(damaged)
    outcome = after_digits.run("run", DIGITS, "--json")
    assert_clear(outcome, 5, f"DVC remote: {largest} is not what its name says")
    assert not (after_digits.root / "data" / "digits").exists()
    assert after_digits.production("digits-cnn") == 1


def test_a_file_in_the_place_of_the_state_folder_is_named(workspace: Workspace) -> None:
    state = workspace.root / ".modelworks"
    if state.exists():
        shutil.rmtree(state)
    state.write_text("in the way")
    outcome = workspace.run("run", DIGITS, "--json")
    assert_clear(outcome, 2, f"cannot write {state}")


def test_a_disk_that_cannot_be_written_is_named(workspace: Workspace, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounting a folder read-only needs root and Linux")
    # In a mount namespace of its own: nobody else sees it, and it goes with the process.
    script = 'mount -o bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'
    root = str(workspace.root)
    boxed = replace(workspace, prefix=("unshare", "--mount", "sh", "-c", script, "sh", root))
    outcome = boxed.run("run", DIGITS, "--json")
    assert_clear(outcome, 2, f"cannot write {root}")
