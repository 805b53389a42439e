"""A package loads only its own files, and works without this project, in a process and over HTTP."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pipelines.ports import free_port
from registry.packaging.packages import contents_of, load_model

from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

Register = Callable[..., Any]


@pytest.mark.parametrize("name", ["saved.py", "model.safetensors", "code/models/cnn.py", "surprise.py"])
def test_damaged_package_does_not_load(load: Callable[..., Any], name: str) -> None:
    _, _, folder = load()
    with (folder / "artifacts" / "model" / name).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(RuntimeError, match=re.escape(str(folder))):
        load_model(folder)


def test_loading_writes_no_compiled_code(load: Callable[..., Any]) -> None:
    _, _, folder = load()
    load_model(folder)
    assert (folder / "__pycache__").is_file()
    assert not list(folder.rglob("*.pyc"))


LOADED_ELSEWHERE = """
import importlib.util, json, sys
assert importlib.util.find_spec("modelworks") is None, "this test needs a process without the project"
import mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/small@production")
print("ANSWER " + model.predict(json.loads(sys.argv[1]), params={"top_k": 3}).to_json(orient="records"))
"""


@pytest.mark.slow
def test_package_works_without_modelworks_over_http_and_in_process(
    client: MlflowClient, project: Project, register: Register, tmp_path: Path
) -> None:
    version = register()
    client.set_registered_model_alias("small", "production", str(version.version))
    images = [base64.b64encode(image).decode() for image in contents_of(version.evaluation, 3)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "MLFLOW_TRACKING_URI": project.tracking_uri
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # An editable install puts the project on the path by a .pth file: -S leaves those out.
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    script = f"import sys; sys.path.append({packages!r})\n{LOADED_ELSEWHERE}"
    direct = subprocess.Popen(
        [sys.executable, "-S", "-c", script, json.dumps(images)],
        cwd=elsewhere,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = free_port()
    command = ["-m", "mlflow", "models", "serve", "-m", "models:/small@production", "--env-manager", "local"]
    server = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=elsewhere,
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        out, _ = direct.communicate(timeout=120)
        answers = json.loads(
            next(line for line in out.splitlines() if line.startswith("ANSWER")).removeprefix("ANSWER ")
        )
        wait_for(port)
        for body in (
            {"inputs": images},
            {"instances": images},
            {"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}},
            {"dataframe_records": [{"image": image} for image in images]},
        ):
            served = ask(port, {**body, "params": {"top_k": 3}})
            assert [each["label"] for each in served] == [each["label"] for each in answers]
            assert served[0]["probability"] == pytest.approx(answers[0]["probability"], abs=1e-6)
            assert served[0]["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-6)
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    assert [each["label"] for each in answers] == [
        max(each["probabilities"], key=each["probabilities"].get) for each in answers
    ]


def test_scoring_server_replies_like_mlflow(load: Callable[..., Any]) -> None:
    """The replies are equal for every format; errors name the row."""
    from mlflow.pyfunc import scoring_server  # the contract: what `mlflow models serve` runs
    from starlette.testclient import TestClient

    from modelworks.registry.packaging.scoring_app import make_app

    model, evaluation, folder = load(modality="text")
    texts = contents_of(evaluation, 3)
    ours, theirs = TestClient(make_app(folder)), TestClient(scoring_server.init(model))
    bodies: list[Any] = [
        {"inputs": texts},
        {"inputs": texts, "params": {"top_k": 2}},
        {"instances": texts},
        {"instances": [{"text": text} for text in texts]},
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"text": text} for text in texts]},
    ]
    for body in bodies:
        answers = [each.post("/invocations", json=body) for each in (ours, theirs)]
        assert [each.status_code for each in answers] == [200, 200], (body, answers[1].text)
        assert answers[0].json() == answers[1].json(), body
    table, columns = pd.DataFrame({"text": texts}), io.BytesIO()
    table.to_parquet(columns)
    for content, kind in (
        (table.to_csv(index=False).encode(), "text/csv"),
        (columns.getvalue(), "application/vnd.apache.parquet"),
    ):
        answers = [
            each.post("/invocations", content=content, headers={"content-type": kind}) for each in (ours, theirs)
        ]
        assert answers[0].json() == answers[1].json(), kind
        assert answers[0].status_code == 200
    for path in ("/ping", "/health", "/version"):
        assert ours.get(path).content == theirs.get(path).content
    wrong: list[Any] = [
        {"inputs": texts, "instances": texts},
        {"texts": texts},
        texts,
        {"inputs": [3]},
        {"dataframe_split": [1]},
        {"dataframe_records": [{"text": None}]},
        {"inputs": texts, "params": {"top_k": 0}},
    ]
    for body in wrong:
        answer = ours.post("/invocations", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST"), body
    assert (
        "row 0 is missing" in ours.post("/invocations", json={"dataframe_records": [{"text": None}]}).json()["message"]
    )
    for content, kind, status in ((b"{", "application/json", 400), (b"x", "text/html", 415), (b"x", "", 415)):
        assert ours.post("/invocations", content=content, headers={"content-type": kind}).status_code == status
    numbers = ours.post("/invocations", content=b"text\n3\nNA\n", headers={"content-type": "text/csv"})
    assert len(numbers.json()["predictions"]) == 2


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/ping")
                if connection.getresponse().status == 200:
                    return
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)  # between attempts to connect


def ask(port: int, body: dict[str, Any]) -> list[dict[str, Any]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    assert response.status == 200, text
    return list(json.loads(text)["predictions"])
