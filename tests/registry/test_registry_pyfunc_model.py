from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from samples.artifacts import local_path

from modelworks.data import dataset_format
from modelworks.models import serialization
from modelworks.project import Project
from modelworks.records import Evaluation
from modelworks.registry.packaging import upload

if TYPE_CHECKING:
    from mlflow import MlflowClient

Register = Callable[..., Any]


def load_model(folder: Path) -> Any:
    import mlflow.pyfunc  # the import warns, which is only allowed inside a test

    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture
def load(
    client: MlflowClient, begin: Callable[[], str], evaluate: Callable[..., Evaluation], tmp_path: Path
) -> Callable[..., tuple[Any, Evaluation, Path]]:
    """A loaded package, the evaluation it came from, and its folder."""

    def make(seed: int = 0, modality: str = "image") -> tuple[Any, Evaluation, Path]:
        evaluation = evaluate(seed, modality)
        source = local_path(upload.log(client, begin(), evaluation).source)
        folder = Path(shutil.copytree(source, tmp_path / f"package-{seed}"))
        return load_model(folder), evaluation, folder

    return make


def contents_of(evaluation: Evaluation, rows: int = 5) -> list[Any]:
    dataset = evaluation.trained.report.dataset
    return list(dataset_format.read(dataset.folder)[dataset.modality].to_pylist()[:rows])


def test_images_are_accepted_as_bytes_and_base64_in_every_container(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    images = contents_of(evaluation)
    strings = [base64.b64encode(image).decode() for image in images]
    expected = serialization.load(evaluation.trained.model_folder).predict(images)["probabilities"]
    labels = [evaluation.trained.report.dataset.targets["label"]["classes"][best] for best in expected.argmax(1)]
    for form in (
        images,
        strings,
        np.array(strings),
        np.array(images, dtype=object),
        pd.Series(images),
        pd.Series(strings),
        pd.DataFrame({"any name": images}),
        pd.DataFrame({"any name": strings}),
    ):
        answer = model.predict(form)
        assert list(answer.columns) == ["label", "probability"]
        assert answer["label"].tolist() == labels
        assert answer["probability"].to_numpy() == pytest.approx(expected.max(1), abs=1e-6)
    assert model.predict(strings[0])["label"].tolist() == labels[:1]


def test_texts_are_accepted_in_every_container(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load(modality="text")
    texts = contents_of(evaluation)
    expected = serialization.load(evaluation.trained.model_folder).predict(texts)["probabilities"]
    for form in (texts, np.array(texts), pd.Series(texts), pd.DataFrame({"any name": texts})):
        assert model.predict(form)["probability"].to_numpy() == pytest.approx(expected.max(1), abs=1e-6)


def test_top_k_returns_the_most_probable_labels_in_order(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    images = contents_of(evaluation)
    two = model.predict(images, params={"top_k": 2})
    for row in two.itertuples():
        assert next(iter(row.probabilities)) == row.label
        assert list(row.probabilities.values()) == sorted(row.probabilities.values(), reverse=True)
        assert len(row.probabilities) == 2
    everything = model.predict(images, params={"top_k": 99})["probabilities"]
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in everything)


def test_the_index_of_the_input_is_kept(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    frame = pd.DataFrame({"image": contents_of(evaluation, 2)}, index=["a", "b"])
    assert model.predict(frame).index.tolist() == ["a", "b"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_missing_value_is_rejected_with_its_row(load: Callable[..., Any], modality: str, missing: object) -> None:
    model, evaluation, _ = load(modality=modality)
    with pytest.raises(Exception, match="row 1 is missing"):
        model.predict(pd.DataFrame({"content": [*contents_of(evaluation, 1), missing]}))


def test_invalid_image_and_top_k_are_rejected(load: Callable[..., Any]) -> None:
    model, evaluation, _ = load()
    with pytest.raises(ValueError, match="row 0 is not an image"):
        model.predict(["no image!"])
    with pytest.raises(ValueError, match="top_k is 0"):
        model.predict(contents_of(evaluation), params={"top_k": 0})


def test_two_versions_with_different_code_are_loaded_in_one_process(load: Callable[..., Any]) -> None:
    one, evaluation, _ = load(0)
    _, _, folder = load(1)
    inside = folder / "artifacts" / "model"
    # A version with another source of its architecture: it always predicts the last class.
    source = (inside / "code/models/cnn.py").read_text()
    assert "return self.classifier(" in source
    (inside / "code/models/cnn.py").write_text(
        source.replace("return self.classifier(", "return torch.tensor([0.0, 0.0, 9.0]) + 0 * self.classifier(")
    )
    manifest = json.loads((inside / "manifest.json").read_text())
    raw = (inside / "code/models/cnn.py").read_bytes()
    manifest["code/models/cnn.py"] = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (inside / "manifest.json").write_text(json.dumps(manifest))
    images = contents_of(evaluation)
    before = one.predict(images)
    other = load_model(folder)
    assert other.predict(images)["label"].tolist() == ["grey"] * len(images)
    pd.testing.assert_frame_equal(one.predict(images), before)


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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
