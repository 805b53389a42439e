"""Unavailable services, damaged files and read-only disks are found before training and named."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pipelines.tracking_server import LossyProxy

if TYPE_CHECKING:
    from pipelines.commands import Outcome
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
MAX_SECONDS = 40.0
"""It takes 15 s on an idle machine."""
LABELS = r"PATCH .*/labels"
"""A request of every run."""


def unused_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def assert_error(outcome: Outcome, exit_code: int, code: str, named: str) -> None:
    assert (outcome.code, outcome.error_code) == (exit_code, code), outcome.stderr
    assert named in outcome.complaint[0]
    assert len(outcome.complaint) == 2
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert "train     ..." not in outcome.stderr


def test_unreachable_tracking_server_is_found_before_training(workspace: Workspace) -> None:
    address = unused_address()
    outcome = workspace.with_environment(MLFLOW_TRACKING_URI=address).run("run", DIGITS, "--json")
    assert_error(outcome, 4, "mlflow.unavailable", address)
    assert "MLFLOW_TRACKING_URI" in outcome.complaint[1]
    assert outcome.seconds < MAX_SECONDS


def test_unsupported_tracking_address_is_rejected(workspace: Workspace) -> None:
    outcome = workspace.with_environment(MLFLOW_TRACKING_URI="file:///tmp/runs").run("run", DIGITS, "--json")
    assert_error(outcome, 2, "mlflow.address", "file:///tmp/runs")


def test_unreachable_prefect_server_is_found_before_training(workspace: Workspace) -> None:
    address = f"{unused_address()}/api"
    outcome = workspace.with_environment(PREFECT_API_URL=address).run("run", DIGITS, "--json")
    assert_error(outcome, 4, "prefect.unavailable", address)
    assert outcome.seconds < MAX_SECONDS


@pytest.mark.slow
def test_failing_prefect_server_is_reported_and_the_next_run_completes(workspace: Workspace) -> None:
    proxy = LossyProxy(workspace.environment["PREFECT_API_URL"].removesuffix("/api"))
    try:
        proxy.broken[LABELS] = 503
        beyond = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api", PREFECT_CLIENT_MAX_RETRIES="0")
        outcome = beyond.run("run", DIGITS, "--json")
        assert_error(outcome, 4, "prefect.failing", f"{proxy.address}/api")
        assert "run again" in outcome.complaint[1]
        assert proxy.faults
        proxy.restore()
        # With the client's retries again, because a server on a busy machine may reply 503.
        retrying = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api")
        assert retrying.run("run", DIGITS, "--json").code == 0
    finally:
        proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("status", [408, 429])
def test_prefect_timeout_and_rate_limit_are_failures(workspace: Workspace, status: int) -> None:
    outcome = _run_with_reply(workspace, status)
    assert (outcome.code, outcome.error_code) == (4, "prefect.failing"), outcome.stderr


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_prefect_authentication_error_is_reported(workspace: Workspace, status: int) -> None:
    outcome = _run_with_reply(workspace, status)
    assert (outcome.code, outcome.error_code) == (2, "prefect.refused"), outcome.stderr
    assert "PREFECT_API_AUTH_STRING" in outcome.complaint[1]


@pytest.mark.slow
@pytest.mark.parametrize("status", [409, 422])
def test_request_that_prefect_rejects_as_invalid_is_a_bug(workspace: Workspace, status: int) -> None:
    outcome = _run_with_reply(workspace, status)
    assert outcome.code == 1, outcome.stderr
    assert outcome.complaint == []
    assert f"error '{status} " in outcome.stderr


def _run_with_reply(workspace: Workspace, status: int) -> Outcome:
    """Run with a Prefect server that replies to one request with a status code."""
    proxy = LossyProxy(workspace.environment["PREFECT_API_URL"].removesuffix("/api"))
    try:
        proxy.broken[LABELS] = status
        beyond = workspace.with_environment(PREFECT_API_URL=f"{proxy.address}/api", PREFECT_CLIENT_MAX_RETRIES="0")
        outcome = beyond.run("run", DIGITS, "--json")
        assert proxy.faults
        return outcome
    finally:
        proxy.close()


def test_damaged_tracking_store_is_named(workspace: Workspace) -> None:
    (workspace.root / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
    outcome = workspace.run("run", DIGITS, "--json")
    assert_error(outcome, 5, "mlflow.database-damaged", f"{workspace.root}/mlflow/mlflow.db")


def delete_data(workspace: Workspace) -> None:
    """Delete data/ and DVC's cache, as on a fresh clone: only the pin and the remote are left."""
    shutil.rmtree(workspace.root / "data")
    shutil.rmtree(workspace.root / ".dvc" / "cache")


@pytest.mark.slow
def test_missing_dvc_remote_is_named(after_digits: Workspace, tmp_path: Path) -> None:
    delete_data(after_digits)
    config = after_digits.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../.modelworks/dvc-remote", str(tmp_path / "unmounted")))
    outcome = after_digits.run("run", DIGITS, "--json")
    assert_error(outcome, 4, "dvc.remote-missing", str(tmp_path / "unmounted"))
    assert after_digits.production("digits-cnn") == 1


def test_damaged_object_of_the_dvc_remote_is_named(after_digits: Workspace) -> None:
    delete_data(after_digits)
    remote = after_digits.root / ".modelworks" / "dvc-remote"
    largest = max((path for path in remote.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(damaged)
    outcome = after_digits.run("run", DIGITS, "--json")
    assert_error(outcome, 5, "dvc.object-damaged", str(largest))
    assert not (after_digits.root / "data" / "digits").exists()
    assert after_digits.production("digits-cnn") == 1


def test_file_in_place_of_the_state_folder_is_named(workspace: Workspace) -> None:
    state = workspace.root / ".modelworks"
    if state.exists():
        shutil.rmtree(state)
    state.write_text("in the way")
    outcome = workspace.run("run", DIGITS, "--json")
    assert_error(outcome, 2, "disk.not-writable", str(state))


def test_read_only_disk_is_named(workspace: Workspace, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mounting a folder read-only needs root and Linux")
    # In a separate mount namespace, which ends with the process.
    script = 'mount -o bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'
    root = str(workspace.root)
    read_only = replace(workspace, prefix=("unshare", "--mount", "sh", "-c", script, "sh", root))
    outcome = read_only.run("run", DIGITS, "--json")
    assert_error(outcome, 2, "disk.not-writable", root)
