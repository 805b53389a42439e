"""Run every command of the README literally, in a copy of this checkout that shares its environment."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelworks.config import run_config as configuration
from modelworks.servers.no_proxy import ask
from modelworks.settings import QUIET

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
DEADLINE = 240.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this checkout's files, uncommitted changes included, with a link to its environment."""
    if subprocess.run(["make", "-q", "setup"], cwd=REPOSITORY, check=False).returncode:
        pytest.fail("the environment is out of date: run `make setup`")
    root = tmp_path_factory.mktemp("readme") / "modelworks"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, root / name)
    (root / ".venv").symlink_to(Path(sys.prefix))
    return root


@pytest.fixture(scope="module")
def environment(clone: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name not in QUIET}
    for name in ("MODELWORKS_PROJECT", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PYTHONPATH"):
        variables.pop(name, None)
    # As after `. .venv/bin/activate`.
    return {**variables, "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}", "HOME": str(clone.parent)}


def shell(command: str, clone: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-ec", command], cwd=clone, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_readme_has_exactly_the_commands_tested_here() -> None:
    assert [
        "make run",
        "make test",
        ".venv/bin/modelworks up",
        ".venv/bin/modelworks why configs/mnist_cnn.yaml",
        ".venv/bin/modelworks run configs/mnist_cnn.yaml --set train.epochs=10",
        ".venv/bin/modelworks why mnist-cnn",
        ".venv/bin/modelworks history mnist-cnn",
        "modelworks serve mnist-cnn --port 5001",
        COMMANDS[-1],
    ] == COMMANDS
    assert COMMANDS[-1].startswith("curl localhost:5001/invocations")


@pytest.fixture(scope="module")
def after_first_run(clone: Path, environment: dict[str, str]) -> Path:
    """Return the clone after the README's first command."""
    first = shell("make run", clone, environment)
    assert first.returncode == 0, first.stderr
    assert re.search(r"^production +version 1$", first.stdout, re.MULTILINE)
    return clone


@pytest.mark.slow
def test_make_run_promotes_and_a_second_one_does_nothing(after_first_run: Path, environment: dict[str, str]) -> None:
    second = shell("make run", after_first_run, environment)
    assert second.returncode == 0
    assert "nothing to do" in second.stderr
    assert re.search(r"^registered +mnist-cnn version 1$", second.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith(".venv/bin/modelworks why")])
def test_why_succeeds(after_first_run: Path, environment: dict[str, str], command: str) -> None:
    found = shell(command, after_first_run, environment)
    assert found.returncode == 0, found.stderr
    assert "nothing to do" in found.stdout or "mnist-cnn version 1: promote" in found.stdout


@pytest.mark.slow
def test_history_shows_the_promotion(after_first_run: Path, environment: dict[str, str]) -> None:
    found = shell(".venv/bin/modelworks history mnist-cnn", after_first_run, environment)
    assert found.returncode == 0, found.stderr
    assert re.search(r"promote +none +1 +promote +done", found.stdout)


@pytest.mark.slow
def test_changed_epochs_train_again(after_first_run: Path, environment: dict[str, str]) -> None:
    # The gate may reject ten epochs against twenty: exit code 3.
    found = shell(".venv/bin/modelworks run configs/mnist_cnn.yaml --set train.epochs=10", after_first_run, environment)
    assert found.returncode in (0, 3), found.stderr
    assert re.search(r"^registered +mnist-cnn version 2$", found.stdout, re.MULTILINE)
    assert "validate cached, train ran" in found.stdout


@pytest.mark.slow
def test_up_serves_both_uis_and_lists_the_schedules(after_first_run: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [".venv/bin/modelworks", "up", "--json", "--mlflow-port", "5055", "--prefect-port", "4255"],
        cwd=after_first_run,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:  # one indented object, which ends with a single brace
            lines.append(line)
            if line == "}\n":
                break
        notice = json.loads("".join(lines))
        assert notice["mlflow"]["mnist-cnn"].startswith("http://127.0.0.1:5055/#/experiments/")
        pages = ("http://127.0.0.1:5055/health", "http://127.0.0.1:4255/api/health", notice["prefect"])
        for address in pages:
            request = urllib.request.Request(address, headers={"Accept": "text/html"})
            with urllib.request.urlopen(request, timeout=30) as response:
                assert response.status == 200
        due = {item["config"] for item in notice["scheduled"]}
        assert due == {
            f"configs/{path.name}"
            for path in (after_first_run / "configs").glob("*.yaml")
            if configuration.load(path).schedule is not None
        }
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


@pytest.fixture
def digit(after_first_run: Path) -> Iterator[str]:
    """Write a digit of the data set to the file that the README's curl sends; yield its label."""
    from PIL import Image

    from modelworks.data import dataset_format

    row = dataset_format.read(after_first_run / "data" / "mnist5k", ["image", "label"]).slice(4999, 1).to_pylist()[0]
    with Image.open(io.BytesIO(row["image"])) as image:
        image.save(after_first_run / "digit.png")
    yield row["label"]
    (after_first_run / "digit.png").unlink()


@pytest.mark.slow
def test_production_model_is_served_and_loads_from_any_folder(
    after_first_run: Path, environment: dict[str, str], digit: str, tmp_path: Path
) -> None:
    serve, curl = COMMANDS[-2:]
    # The README's port may be in use on this machine.
    server = subprocess.Popen(
        ["bash", "-c", f"exec {serve.replace('5001', '5056')}"],
        cwd=after_first_run,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for("http://127.0.0.1:5056/ping", server)
        answer = shell(
            "shopt -s expand_aliases; " + curl.replace("localhost:5001", "127.0.0.1:5056"), after_first_run, environment
        )
        assert json.loads(answer.stdout)["predictions"][0]["label"] == digit
    finally:
        server.terminate()
        server.wait(60)
    image = base64.b64encode((after_first_run / "digit.png").read_bytes()).decode()
    program = (
        "import base64, mlflow\n"
        f"image = base64.b64decode('{image}')\n"
        "print(mlflow.pyfunc.load_model('models:/mnist-cnn@production').predict([image])['label'][0])"
    )
    uri = f"sqlite:///{after_first_run}/mlflow/mlflow.db"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**environment, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert elsewhere.stdout.strip().splitlines()[-1] == digit, elsewhere.stderr


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with ask(address, 5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no reply from {address}")
