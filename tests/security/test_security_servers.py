"""Attacks on our servers: other hosts, other origins, and paths outside the artifact store."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq
import pytest
from samples.artifacts import local_path
from security.running_servers import SECRET, Server, Up

from modelworks.data import dataset_format

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def up(digits: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run `modelworks up` in a copy of the digits' project, with an unsafe user's environment."""
    from pipelines.workspaces import Workspace, copy_project

    root = tmp_path_factory.mktemp("up") / "project"
    copy_project(digits, root)
    outside = root.parent / "outside.txt"
    outside.write_text(SECRET)
    unsafe = {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
        "MLFLOW_HOST": "0.0.0.0",
        "MLFLOW_UVICORN_OPTS": "--host 0.0.0.0",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "*",
    }
    workspace = Workspace(root, {**environment, **unsafe})
    mlflow, prefect = free_port(), free_port()
    with workspace.running("up", "--mlflow-port", str(mlflow), "--prefect-port", str(prefect)) as background:
        assert background.process.stdout is not None
        for line in background.process.stdout:
            if "Ctrl-C" in line:
                break
        yield Up(workspace, background, Server(mlflow), Server(prefect), outside)
        background.signal(signal.SIGINT)
        assert background.finish().code == 0


@pytest.mark.slow
def test_every_process_disables_pickles_and_listens_only_on_loopback(up: Up) -> None:
    processes = [psutil.Process(up.background.process.pid), *up.background.children()]
    listening = set()
    for each in processes[1:]:
        assert each.environ().get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION") == "false", each.cmdline()
        assert each.environ().get("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE") == "false", each.cmdline()
    for each in processes:
        found = [one for one in each.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        listening |= {(one.laddr.ip, one.laddr.port) for one in found}
    assert {address for address, _ in listening} == {"127.0.0.1"}
    assert {up.mlflow.port, up.prefect.port} <= {port for _, port in listening}


@pytest.mark.parametrize(
    "host", ["evil.org", "evil.org:5000", "192.168.1.5:5000", "10.0.0.1", "127.0.0.1:1", "[fd00::1]:80"]
)
def test_other_host_is_refused(up: Up, host: str) -> None:
    body = {"max_results": 10}
    assert up.mlflow.request("POST", "/api/2.0/mlflow/experiments/search", body)[0] == 200
    assert up.mlflow.request("POST", "/api/2.0/mlflow/experiments/search", body, Host=host)[0] == 403
    assert up.prefect.request("POST", "/api/flows/filter", {})[0] == 200
    assert up.prefect.request("POST", "/api/flows/filter", {}, Host=host)[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.org", "https://127.0.0.1.evil.org", "null"])
def test_other_origin_cannot_change_anything(up: Up, origin: str) -> None:
    before = up.workspace.registered()
    for method, path, body in (
        ("POST", "experiments/create", {"name": "evil"}),
        ("DELETE", "registered-models/delete", {"name": "digits-cnn"}),
        ("DELETE", "model-versions/delete", {"name": "digits-cnn", "version": "1"}),
        ("POST", "registered-models/alias", {"name": "digits-cnn", "alias": "production", "version": "1"}),
        ("DELETE", "registered-models/alias", {"name": "digits-cnn", "alias": "production"}),
    ):
        for prefix in ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"):
            status, _ = up.mlflow.request(method, prefix + path, body, Origin=origin)
            assert status == 403, (method, path)
    for method, path in (("POST", "/api/flows/filter"), ("DELETE", "/api/flows/0"), ("GET", "/api/health")):
        assert up.prefect.request(method, path, {}, Origin=origin)[0] == 403
    assert up.workspace.registered() == before
    assert up.workspace.production("digits-cnn") == 1


def test_other_origin_cannot_open_a_websocket(up: Up) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": base64.b64encode(b"0" * 16).decode(),
    }
    assert up.prefect.request("GET", "/api/events/in", Origin="http://evil.org", **upgrade)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "../" * 12 + "{0}",
        "..%2f" * 12 + "{0}",
        "%2e%2e/" * 12 + "{0}",
        "%252e%252e%252f" * 12 + "{0}",
        "/{0}",
        "file:///{0}",
        "package/../../../../../../../../../../../../{0}",
        "..\\" * 12 + "{0}",
        "package%00/../../{0}",
    ],
)
def test_artifact_paths_cannot_leave_the_store(up: Up, path: str) -> None:
    run = up.workspace.runs("digits-cnn")[0].info.run_id
    traversal = path.format(quote(str(up.outside).lstrip("/")))
    model = up.workspace.client.search_logged_models([up.workspace.runs("digits-cnn")[0].info.experiment_id])[
        0
    ].model_id
    for address in (
        f"/get-artifact?run_id={run}&path={traversal}",
        f"/get-artifact?run_uuid={run}&path={traversal}",
        f"/model-versions/get-artifact?name=digits-cnn&version=1&path={traversal}",
        f"/ajax-api/2.0/mlflow/get-artifact?run_id={run}&path={traversal}",
        f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path={traversal}",
        f"/api/2.0/mlflow-artifacts/artifacts/{traversal}",
        f"/ajax-api/2.0/mlflow-artifacts/artifacts/{traversal}",
        f"/static-files/{traversal}",
        f"/{traversal}",
    ):
        status, text = up.mlflow.request("GET", address)
        assert SECRET not in text, address
        assert status >= 400 or "<!doctype html>" in text.lower(), address
    for address in (f"/{traversal}", f"/ui/{traversal}", f"/api/{traversal}"):
        assert SECRET not in up.prefect.request("GET", address)[1], address


def test_server_allows_no_upload_or_deletion(up: Up) -> None:
    for method in ("PUT", "DELETE", "GET"):
        status, _ = up.mlflow.request(method, "/api/2.0/mlflow-artifacts/artifacts/mine.txt", {})
        assert status >= 400


@pytest.mark.parametrize(
    "source",
    [
        "file://{0}",
        "{0}",
        "file://{0}#",
        "file://{0}?x",
        "FILE://{0}",
        "file://localhost{0}",
        "{1}/../../../../../..{0}",
        "file://{1}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{0}",
        "mlflow-artifacts:/../../../..{0}",
        "models:/../../{0}",
    ],
)
def test_version_cannot_have_files_outside_the_store(up: Up, source: str) -> None:
    run = up.workspace.runs("digits-cnn")[0].info
    location = source.format(up.outside.parent, local_path(run.artifact_uri))
    for fields in ({}, {"run_id": run.run_id}):
        status, text = up.mlflow.request(
            "POST", "/api/2.0/mlflow/model-versions/create", {"name": "digits-cnn", "source": location, **fields}
        )
        if status == 200:
            number = json.loads(text)["model_version"]["version"]
            shown = up.mlflow.request(
                "GET", f"/model-versions/get-artifact?name=digits-cnn&version={number}&path={up.outside.name}"
            )
            up.workspace.client.delete_model_version("digits-cnn", number)
            pytest.fail(f"{location} was accepted as a source; the response for its file was {shown}")
        assert status >= 400


@pytest.fixture
def served(copy: Callable[[Path], Workspace], digits: Path) -> Iterator[tuple[Workspace, Server, Any]]:
    """Run `modelworks serve`; yield the server and the printed object."""
    workspace = copy(digits).with_environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="true")
    port = free_port()
    with workspace.running("serve", "digits-cnn@production", "--port", str(port), "--json") as background:
        assert background.process.stdout is not None
        text = ""
        for line in background.process.stdout:
            text += line
            if line.startswith("}"):
                break
        (child,) = background.children()
        assert child.environ()["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
        yield workspace, Server(port), json.loads(text)
        background.signal(signal.SIGINT)
        assert background.finish().code == 0
        assert not child.is_running()


def test_served_predictions_equal_those_of_the_evaluation_and_other_origins_are_refused(
    served: tuple[Workspace, Server, Any],
) -> None:
    workspace, server, notice = served
    assert (notice["model"], notice["version"]) == ("digits-cnn", 1)
    assert notice["address"] == f"http://127.0.0.1:{server.port}/invocations"
    assert notice["example"].startswith(f"curl {notice['address']} ")
    expected = pq.read_table(workspace.stage_folder("score") / "predictions.parquet").slice(0, 16)
    images = (
        dataset_format.read(workspace.root / "data" / "digits", ["image"]).take(expected["row"])["image"].to_pylist()
    )
    body = {"inputs": [base64.b64encode(each).decode() for each in images], "params": {"top_k": 10}}
    status, text = server.request("POST", "/invocations", body)
    assert status == 200, text
    served_rows = json.loads(text)["predictions"]
    assert [int(each["label"]) for each in served_rows] == expected["predicted"].to_pylist()
    for row, probabilities in zip(served_rows, expected["probabilities"].to_pylist(), strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(sorted(probabilities, reverse=True), abs=1e-5)
    assert server.request("POST", "/invocations", body, Host="evil.org")[0] == 403
    assert server.request("POST", "/invocations", body, Origin="http://evil.org")[0] == 403


def test_public_host_is_rejected_with_the_missing_settings(copy: Callable[[Path], Workspace], digits: Path) -> None:
    outcome = copy(digits).run("serve", "digits-cnn", "--host", "0.0.0.0")
    assert (outcome.code, outcome.error_code) == (2, "server.exposed")
    for name in ("TOKEN", "HOSTS", "ORIGINS"):
        assert f"MODELWORKS_SERVER_{name}" in outcome.complaint[0]
