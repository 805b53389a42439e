"""`modelworks up`: run the MLflow and Prefect UIs and the scheduler until Ctrl-C."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flows.schedules import Scheduled, scheduled
from modelworks.cli.output import print_json
from modelworks.errors import BadInput, Unavailable
from modelworks.project import Project
from modelworks.servers import child_process
from modelworks.servers.host_origin_check import Access
from modelworks.servers.no_proxy import ask
from modelworks.servers.prefect_client import Server, serving_address, start_server, up_notice

__all__ = ["up"]

OTHER_SERVERS = ("MLFLOW_UVICORN_OPTS", "MLFLOW_GUNICORN_OPTS", "MLFLOW_WAITRESS_OPTS", "MLFLOW_STATIC_PREFIX")
"""Variables with which MLflow would listen elsewhere, or run a server without host and origin checks."""
START_SECONDS = 120.0
STOP_SECONDS = 20.0


def up(mlflow_port: int, prefect_port: int, *, as_json: bool) -> None:
    """Serve until interrupted; with --json print one object when all servers answer."""
    project = Project.find()
    due = scheduled(project)
    project.enter()
    project.make_private_folders()
    with _only_one(project), child_process.stop_signals() as stopping:
        prefect: Server | None = None
        if not project.prefect_url:
            _require_free(prefect_port, "--prefect-port")
            prefect = start_server(project, port=prefect_port, pages=True)
        url = serving_address(project) if project.prefect_url else None
        children = []
        try:
            _say("starting the servers ...", as_json=as_json)
            experiments = _experiments(project)
            if not project.mlflow_uri.startswith("http"):
                _require_free(mlflow_port, "--mlflow-port")
                children.append(_start_mlflow(project, mlflow_port))
                health, log = f"http://127.0.0.1:{mlflow_port}/health", project.state / "mlflow-server.log"
                child_process.wait_until(
                    children[-1], lambda: _answers(health), "MLflow's server", log, START_SECONDS, stopping
                )
            if prefect is not None:
                url = prefect.wait(stopping)
                up_notice(project).write_text(json.dumps({"url": url}))
            assert url is not None
            if not stopping.is_set():
                children.append(_start_scheduler(project, url))
                _print(_notice(project, mlflow_port, prefect_port, experiments, due), as_json=as_json)
            _watch(children, prefect, stopping)
        finally:
            _say("stopping ...", as_json=as_json)
            for process in reversed(children):
                process.terminate()
            for process in children:
                child_process.end(process, STOP_SECONDS)
            if prefect is not None:
                up_notice(project).unlink(missing_ok=True)
                prefect.stop()


def _experiments(project: Project) -> dict[str, str]:
    """Return experiment ids by name; create the store first if there is none."""
    from modelworks.registry.backend.tracking_store import connect

    client = connect(project)
    names = {each.name: str(each.experiment_id) for each in client.search_experiments()}
    return {name: number for name, number in names.items() if "/" not in name and name != "Default"}


def _start_mlflow(project: Project, port: int) -> subprocess.Popen[bytes]:
    access = Access.local(port)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--workers",
        "1",
        "--default-artifact-root",
        str(project.mlflow / "artifacts"),
        # Clients on this machine write artifacts directly, so the server need not accept or delete any.
        "--no-serve-artifacts",
        # Exact names: MLflow's default allows every private address.
        "--allowed-hosts",
        ",".join(sorted(access.hosts)),
        "--cors-allowed-origins",
        ",".join(sorted(access.origins)),
    ]
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_SERVERS}
    environment["MLFLOW_BACKEND_STORE_URI"] = project.tracking_uri  # may contain a password, which `ps` would show
    return child_process.start(
        command, log=str(project.state / "mlflow-server.log"), environment=environment, directory=str(project.root)
    )


def _start_scheduler(project: Project, url: str) -> subprocess.Popen[bytes]:
    return child_process.start(
        [sys.executable, "-m", "flows.scheduler"],
        log=str(project.state / "scheduler.log"),
        environment={**os.environ, "PREFECT_API_URL": url},
        directory=str(project.root),
    )


def _notice(
    project: Project, mlflow_port: int, prefect_port: int, experiments: Mapping[str, str], items: Sequence[Scheduled]
) -> dict[str, Any]:
    due = sorted((item for item in items if not item.missing), key=lambda item: item.next_run())
    return {
        "mlflow": {name: project.mlflow_page(number, port=mlflow_port) for name, number in sorted(experiments.items())}
        or {"home": project.mlflow_home(port=mlflow_port)},
        "prefect": project.prefect_page(port=prefect_port),
        "scheduled": [
            {
                "config": str(item.config),
                "model": item.name,
                "cron": item.schedule.cron,
                "next": item.next_run().isoformat(),
            }
            for item in due
        ],
        "not_scheduled": [
            {
                "config": str(item.config),
                "model": item.name,
                "cron": item.schedule.cron,
                "missing": item.missing,
                "hint": item.hint,
            }
            for item in items
            if item.missing
        ],
    }


def _print(notice: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(notice)
        sys.stdout.flush()
        return
    for name, address in notice["mlflow"].items():
        print(f"MLflow   {name:<20} {address}")
    print(f"Prefect  {'runs':<20} {notice['prefect']}")
    if not notice["scheduled"]:
        print(
            'schedule no config is scheduled: add `schedule: {cron: "0 2 * * *"}` to one, then start `modelworks up` again'
        )
    for item in notice["scheduled"]:
        print(f"next     {item['model']:<20} {item['next']}  ({item['cron']}, {item['config']}, data available)")
    for item in notice["not_scheduled"]:
        print(f"missing  {item['model']:<20} {item['config']} is not scheduled: {item['missing']}")
        print(f"         {item['hint']}, then start `modelworks up` again")
    print("Ctrl-C stops all servers", flush=True)


def _watch(children: list[subprocess.Popen[bytes]], prefect: Server | None, stopping: threading.Event) -> None:
    """Wait for a signal; raise if a child process ends."""
    processes = [*children, *([prefect.process] if prefect else [])]
    while not stopping.wait(0.5):
        for process in processes:
            if process.poll() is not None:
                words = [str(part) for part in process.args] if isinstance(process.args, list) else [str(process.args)]
                raise Unavailable(
                    f"a server ended with code {process.returncode}: {' '.join(words[-8:])}",
                    "see the logs in .modelworks",
                    code="server.ended",
                ).after_output()


def _answers(address: str) -> bool:
    try:
        with ask(address, 5):
            return True
    except OSError:
        return False


def _require_free(port: int, option: str) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            raise BadInput(
                f"{option} {port}: the port is in use",
                f"choose another: {option} {port + 1}",
                code="server.port-taken",
            ) from None


@contextmanager
def _only_one(project: Project) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(project.locks / "up.lock", timeout=0):
            yield
    except Timeout:
        raise Unavailable(
            "`modelworks up` is already running for this project", "stop it first", code="server.running"
        ) from None


def _say(text: str, *, as_json: bool) -> None:
    print(text, file=sys.stderr if as_json else sys.stdout, flush=True)
