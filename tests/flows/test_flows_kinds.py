"""Every kind of model and of user data runs through the complete flow without network access."""

from __future__ import annotations

import colorsys
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

HUES = {"red": 0.0, "green": 0.33, "blue": 0.66}
OPINIONS = {
    "good": ("wonderful", "excellent", "lovely", "brilliant", "schön"),
    "bad": ("terrible", "awful", "horrid", "dreadful", "übel"),
}
THINGS = ("film", "book", "café", "phone", "garden", "meal")

IMAGES = """
name: own
source: {kind: folder, path: pictures}
checks: {min_rows: 50}
model: {kind: cnn, size: 16, hidden: 16}
train: {epochs: 10, batch_size: 8, learning_rate: 0.01}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: {minimums: {accuracy: 0.6}}
"""
TEXTS = """
name: own
source: {kind: table, path: %(file)s, text: words, label: opinion, encoding: %(encoding)s}
model: %(model)s
train: {epochs: %(epochs)d, batch_size: 16, learning_rate: %(rate)g}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: {minimums: {accuracy: 0.6}, compare: accuracy}
"""
TRANSFORMER = {
    "model": "{kind: transformer, vocabulary: 400, max_tokens: 12, width: 16, layers: 1, heads: 2}",
    "epochs": 4,
    "rate": 0.01,
}
MINILM = {"model": "{kind: pretrained, checkpoint: minilm, max_tokens: 12}", "epochs": 2, "rate": 0.0005}


def write_pictures(folder: Path, splits: dict[str, int]) -> None:
    """Write PNG files of noise around a colour, of many sizes, some with transparency or a palette.

    Args:
        folder: the folder to write to.
        splits: number of images per class in each of these subfolders; "" for the folder itself.
    """
    draw = np.random.default_rng(0)
    for split, count in splits.items():
        for name, hue in HUES.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                height, width = draw.integers(10, 40, size=2)
                colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.9, 0.8))
                pixels = np.clip(colour + draw.normal(0, 30, size=(height, width, 3)), 0, 255).astype(np.uint8)
                image = Image.fromarray(pixels).convert(("RGB", "RGBA", "P")[number % 3])
                image.save(folder / split / name / f"{number}.png")


def sentences(count: int) -> list[dict[str, str]]:
    """Return different short texts with one word each that depends on the opinion."""
    rows = []
    for number in range(count):
        opinion = ("good", "bad")[number % 2]
        word, thing = OPINIONS[opinion][number // 2 % 5], THINGS[number // 10 % 6]
        rows.append({"opinion": opinion, "words": f"a {word} {thing}, number {number} of them"})
    return rows


def write_table(path: Path, encoding: str, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding)
    else:
        mark, quote = ("\t", "") if path.suffix == ".tsv" else (",", '"')
        lines = [f"{row['opinion']}{mark}{quote}{row['words']}{quote}" for row in rows]
        path.write_text("\n".join([f"opinion{mark}words", *lines, ""]), encoding)


def assert_in_production(workspace: Workspace, summary: dict[str, Any]) -> None:
    assert summary["stages"] == dict.fromkeys(STAGES, "ran")
    assert (summary["verdict"], summary["version"], summary["production"]) == ("promote", 1, 1)
    assert workspace.production("own") == 1
    assert workspace.done("why", "configs/own.yaml")["nothing_to_do"]


@pytest.mark.slow
def test_cnn_is_trained_on_colour_images_of_many_sizes_and_scored_on_the_test_folder(workspace: Workspace) -> None:
    write_pictures(workspace.root / "pictures", {"train": 15, "test": 5})
    summary = workspace.done("run", workspace.write_config("own", IMAGES))
    assert_in_production(workspace, summary)
    assert summary["rows"]["test"] == 15
    assert summary["rows"]["train"] + summary["rows"]["validation"] == 45


@pytest.mark.parametrize(
    ("file", "encoding"),
    [
        ("own.csv", "utf-8"),
        pytest.param("own.tsv", "latin-1", marks=pytest.mark.slow),
        pytest.param("own.parquet", "utf-8", marks=pytest.mark.slow),
    ],
)
def test_transformer_is_trained_on_a_table(workspace: Workspace, file: str, encoding: str) -> None:
    write_table(workspace.root / file, encoding, sentences(300))
    config = workspace.write_config("own", TEXTS % {"file": file, "encoding": encoding, **TRANSFORMER})
    summary = workspace.done("run", config)
    assert_in_production(workspace, summary)
    assert sum(summary["rows"].values()) == 300
    stored = pa.parquet.read_table(workspace.root / "data" / "own" / "examples.parquet")
    assert any("café" in text for text in stored["text"].to_pylist())


GUARD = '''
"""Refuse and log connections to other machines and listening sockets that other machines can reach."""
import os, sys

OUTGOING = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
HERE = ("localhost", "::1", None)

def guard(event, arguments):
    if event not in OUTGOING and event != "socket.bind":
        return
    target = arguments[0] if event in OUTGOING[2:] else arguments[1]
    if event not in OUTGOING[2:] and not isinstance(target, tuple):
        return  # a path: a local socket
    host = target[0] if isinstance(target, tuple) else target
    host = host.decode() if isinstance(host, bytes) else host
    if host in HERE or host.startswith("127."):
        return
    with open(os.environ["NETWORK_ATTEMPTS"], "a") as stream:
        stream.write(f"{event} {host} by {sys.orig_argv}\\n")
    raise OSError(f"no network: {event} {host}")

sys.addaudithook(guard)
with open(os.environ["NETWORK_GUARDED"], "a") as stream:
    stream.write(f"{sys.orig_argv}\\n")
'''


@pytest.fixture
def guard(tmp_path: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return environment variables that load the guard into every Python process."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    return {
        "PYTHONPATH": ":".join([str(tmp_path / "guard"), *filter(None, [environment.get("PYTHONPATH")])]),
        "NETWORK_ATTEMPTS": str(tmp_path / "attempts"),
        "NETWORK_GUARDED": str(tmp_path / "guarded"),
    }


@pytest.mark.parametrize(
    "attempt",
    [
        "connect(('192.0.2.1', 80))",  # an address that is reserved for documentation
        "connect_ex(('192.0.2.1', 80))",
        "bind(('0.0.0.0', 0))",
    ],
)
def test_guard_refuses_and_logs_network_access(guard: dict[str, str], attempt: str) -> None:
    program = f"import socket; socket.socket().{attempt}"
    done = subprocess.run([sys.executable, "-P", "-c", program], env={**os.environ, **guard}, capture_output=True)
    assert done.returncode == 1
    assert b"no network" in done.stderr
    assert attempt.split("'")[1] in Path(guard["NETWORK_ATTEMPTS"]).read_text()


@pytest.mark.slow
def test_first_run_uses_no_network(copy: Callable[[Path], Workspace], bare: Path, guard: dict[str, str]) -> None:
    """Start a Prefect server and use a packaged checkpoint, so that every library could access the network."""
    offline = copy(bare).with_environment(**guard)
    write_table(offline.root / "own.jsonl", "utf-8", sentences(200))
    config = offline.write_config("own", TEXTS % {"file": "own.jsonl", "encoding": "utf-8", **MINILM})

    summary = offline.done("run", config)

    attempts = Path(guard["NETWORK_ATTEMPTS"])
    assert not attempts.exists(), attempts.read_text()
    assert_in_production(offline, summary)
    guarded = Path(guard["NETWORK_GUARDED"]).read_text()
    for program in ("modelworks', 'run'", "modelworks.servers.prefect_server", "modelworks.training"):
        assert program in guarded
