"""`modelworks serve` on several addresses, and with a server that returns errors."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from modelworks.data import dataset_format
from modelworks.errors import Unavailable
from modelworks.servers import serve

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_server_answers_the_printed_example_request(
    copy: Callable[[Path], Workspace], digits: Path, tmp_path: Path, host: str
) -> None:
    workspace = copy(digits)
    scored = pq.read_table(workspace.stage_folder("score") / "predictions.parquet").slice(0, 1)
    image = dataset_format.read(workspace.root / "data" / "digits", ["image"]).take(scored["row"])["image"][0].as_py()
    (tmp_path / "IMAGE.png").write_bytes(image)
    with workspace.running("serve", "digits-cnn", "--host", host, "--port", "0", "--json") as background:
        assert background.process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = background.process.stdout.readline()
            assert line, background.finish()
            text += line
        notice = json.loads(text)
        command = ["bash", "-c", notice["example"]]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [int(each["label"]) for each in json.loads(answer)["predictions"]] == scored["predicted"].to_pylist()


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with 403."""

    def do_GET(self) -> None:
        self.send_error(HTTPStatus.FORBIDDEN)

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URL of a server that answers 403."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_error_status_ends_the_wait(refusing: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(Unavailable, match="403 Forbidden") as caught:
            serve._wait(process, refusing, "", tmp_path / "serving.log", threading.Event())
        assert caught.value.code == "server.not-serving"
        assert process.poll() is None
