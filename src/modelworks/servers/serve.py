"""`modelworks serve`: verify a version and serve its predictions over HTTP."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelworks.cli.output import print_json
from modelworks.errors import BadInput, Unavailable
from modelworks.modalities.base import processor_class
from modelworks.project import Project
from modelworks.servers import child_process
from modelworks.servers.host_origin_check import Access
from modelworks.servers.no_proxy import ask
from modelworks.settings import Exposure

if TYPE_CHECKING:
    from modelworks.registry.versions.queries import Registered

__all__ = ["serve"]

START_SECONDS = 180.0
STOP_SECONDS = 10.0


def serve(model: str, host: str, port: int, *, as_json: bool) -> None:
    """Serve until interrupted; with --json print one object when the model answers.

    Raises:
        BadInput: there is no such version, the port is taken, or other machines can reach an unprotected host.
        Corrupt: the version differs from what was registered.
        Unavailable: the server did not start, or ended.
    """
    project, exposure = Project.find(), Exposure.find()
    Access.at(host, port, exposure)  # check before anything is fetched
    project.enter()
    project.make_private_folders()
    from modelworks.registry.backend.tracking_store import connect
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import references

    client = connect(project)
    version = references.named(client, model, None)
    package = verify_version.package_folder(client, project, version.name, version.version)
    log = project.state / "serving.log"
    with child_process.stop_signals() as stopping, _listening(host, port) as listener:
        port = listener.getsockname()[1]
        process = _start(host, listener, package, log)
        try:
            address, access = _address(host, port), Access.at(host, port, exposure)
            _wait(process, address, access.token, log, stopping)
            if not stopping.is_set():
                _print(version, address, _modality(package), access, as_json=as_json)
            while not stopping.wait(0.2):
                if process.poll() is not None:
                    raise Unavailable(
                        f"the server ended with code {process.returncode}", f"see {log}", code="server.ended"
                    ).after_output()
        finally:
            child_process.end(process, STOP_SECONDS)


def _start(host: str, listener: socket.socket, package: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            # -P: files in the current folder must not shadow libraries.
            [
                sys.executable,
                "-P",
                "-m",
                "modelworks.servers.scoring_server",
                str(os.getpid()),
                str(listener.fileno()),
                host,
                str(package),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the command; the server ends after it
        )


def _address(host: str, port: int) -> str:
    """Return the URL of the server on this machine."""
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _known_name(address: str) -> str:
    """Return a Host header that `Access` always allows."""
    return f"127.0.0.1:{urlsplit(address).port}"


def _wait(process: subprocess.Popen[bytes], address: str, token: str, log: Path, stopping: threading.Event) -> None:
    headers = {"Host": _known_name(address), "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{address}/ping", headers=headers)  # noqa: S310  # our own server

    def answers() -> bool:
        try:
            with ask(request, 5):
                return True
        except urllib.error.HTTPError as error:
            raise Unavailable(
                f"the server does not answer requests: {error.code} {error.reason}",
                f"see {log}",
                code="server.not-serving",
            ) from None
        except OSError:
            return False

    child_process.wait_until(process, answers, "the server", log, START_SECONDS, stopping)


def _print(version: Registered, address: str, modality: str, access: Access, *, as_json: bool) -> None:
    content = processor_class(modality).request_example
    name = "" if urlsplit(address).netloc in access.hosts else f" -H 'Host: {_known_name(address)}'"
    token = " -H 'Authorization: Bearer '$MODELWORKS_SERVER_TOKEN" if access.token else ""
    body = json.dumps(json.dumps({"inputs": [content]}))
    url = shlex.quote(f"{address}/invocations")
    example = f"curl {url} -H 'Content-Type: application/json'{name}{token} -d {body}"
    if as_json:
        print_json(
            {
                "model": version.name,
                "version": version.version,
                "digest": version.digest,
                "address": f"{address}/invocations",
                "example": example,
            }
        )
    else:
        print(f"{version.name} version {version.version}, verified: {address}/invocations")
        print(f"  {example}")
        print("Ctrl-C stops it")
    sys.stdout.flush()


def _modality(package: Path) -> str:
    from modelworks.registry.packaging.build import saved_model

    described: Mapping[str, Any] = json.loads((saved_model(package) / "model.json").read_bytes())
    return str(described["modality"])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"--host {host} --port {port}: {error.strerror}",
                "choose another port, or 0 for any free port",
                code="server.address",
            ) from None
        # Listen now, so that early connections wait for the server.
        listener.listen(128)
        yield listener
