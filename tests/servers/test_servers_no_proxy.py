"""Requests to our own servers do not use the proxy from the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pipelines.commands import DEADLINE

from modelworks.project import Project
from modelworks.servers import no_proxy, prefect_client, serve, up

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
TOKEN = "a-token-of-many-characters"


@dataclass
class Listener:
    """A server that answers every request with one status and records it."""

    address: str
    paths: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)


@contextmanager
def listening(status: HTTPStatus) -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.paths.append(self.path)
            listener.tokens.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(status)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Suppress the log."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        listener = Listener(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield listener
        server.shutdown()
        thread.join()


@pytest.fixture
def ours() -> Iterator[Listener]:
    """Stands in for one of our servers."""
    with listening(HTTPStatus.OK) as listener:
        yield listener


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A proxy in the environment that answers 503."""
    with listening(HTTPStatus.SERVICE_UNAVAILABLE) as listener:
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", listener.address)
        monkeypatch.setattr(urllib.request, "_opener", None)  # it caches the proxies
        yield listener


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A running process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def test_token_is_sent_to_the_server_but_not_to_a_proxy(
    ours: Listener, proxy: Listener, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    serve._wait(
        process, ours.address, TOKEN, tmp_path / "log", threading.Event()
    )  # not the complete command, which takes half a minute
    assert (ours.tokens, proxy.paths) == ([f"Bearer {TOKEN}"], [])


def test_mlflow_server_is_reached_without_a_proxy(ours: Listener, proxy: Listener) -> None:
    assert up._answers(f"{ours.address}/health")
    assert (ours.paths, proxy.paths) == (["/health"], [])


def test_response_with_an_error_status_is_closed() -> None:
    with listening(HTTPStatus.SERVICE_UNAVAILABLE) as refusing, pytest.raises(urllib.error.HTTPError) as refused:
        no_proxy.ask(refusing.address, 5)
    assert refused.value.code == HTTPStatus.SERVICE_UNAVAILABLE
    assert refused.value.fp.closed


def test_prefect_server_is_found_without_a_proxy(ours: Listener, proxy: Listener, project: Project) -> None:
    project.make_private_folders()
    prefect_client.up_notice(project).write_text(f'{{"url": "{ours.address}/api"}}')
    assert prefect_client.serving_address(project) == f"{ours.address}/api"
    assert (ours.paths, proxy.paths) == (["/api/health"], [])


RUNNING = """
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running

with get_client(sync_client=True) as client:
    print(client.create_flow_run(flow(lambda: None, name="killed"), state=Running()).id)
"""
CRASH = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path

from modelworks.cli.doctor import orchestration
from modelworks.cli.doctor.prefect_runs_internals import FlowRun
from modelworks.project import Project
from modelworks.servers.no_proxy import bypass_proxy_for_loopback

bypass_proxy_for_loopback(os.environ)
run = FlowRun(id=sys.argv[2], labels={}, state="RUNNING", attempt=1, since=datetime.now(UTC), task_runs=())
orchestration._set_crashed(Project(Path(sys.argv[1])), [run])
"""


def test_doctor_reaches_our_server_without_a_proxy(proxy: Listener, project: Project, server_url: str) -> None:
    project.make_private_folders()
    prefect_client.up_notice(project).write_text(json.dumps({"url": server_url}))
    own = {**os.environ, **project.environment(), "PREFECT_API_URL": server_url}
    own = {name: value for name, value in own.items() if name not in PROXIES}
    number = program(RUNNING, own).strip()
    program(CRASH, {**own, "http_proxy": proxy.address}, str(project.root), number)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{server_url}/flow_runs/{number}"
    ) as answer:
        assert json.load(answer)["state_name"] == "Crashed"
    assert proxy.paths == []


def program(text: str, environment: dict[str, str], *arguments: str) -> str:
    """Run a Python program; return its output."""
    command = [sys.executable, "-P", "-c", text, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.usefixtures("proxy")
def test_external_prefect_server_is_reached_through_the_proxy(
    ours: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("http_proxy", ours.address)
    team = "http://prefect.example/api"
    assert prefect_client.serving_address(Project(tmp_path, prefect_url=team)) == team
    assert ours.paths == [f"{team}/health"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"no_proxy": "example.org"}, "example.org,127.0.0.1,localhost"),
        ({"NO_PROXY": "example.org"}, "example.org,127.0.0.1,localhost"),
        ({"no_proxy": "localhost, 127.0.0.1"}, "localhost,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_includes_loopback(before: dict[str, str], after: str) -> None:
    environment = dict(before)
    no_proxy.bypass_proxy_for_loopback(environment)
    assert environment == {**before, "no_proxy": after}


@pytest.mark.slow
def test_run_reaches_its_server_despite_a_dead_proxy(copy: Callable[[Path], Workspace], digits: Path) -> None:
    workspace = copy(digits).without_environment("PREFECT_API_URL", *PROXIES)
    behind = workspace.with_environment(http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    outcome = behind.run(
        "run",
        "configs/digits_cnn.yaml",
        "--set",
        "evaluate.resamples=100",
        "--set",
        "gate.max_regression=0.9",
        "--json",
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.object["prefect_flow_run_id"]
