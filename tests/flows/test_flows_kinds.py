"""Every model kind and every kind of own data goes through the whole flow."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from modelworks.plan import STAGES

if TYPE_CHECKING:
    from conftest import Workspace

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
    """PNG files of noise around a colour, of many sizes, some of them with transparency or with a palette.

    Args:
        folder: to fill.
        splits: how many images per class are put below each of these folders; "" for none in between.
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
    """Different short texts, whose opinion one of their words gives away."""
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


def test_a_cnn_learns_a_folder_of_colour_pictures_of_many_sizes(workspace: Workspace) -> None:
    write_pictures(workspace.root / "pictures", {"": 20})
    summary = workspace.done("run", workspace.write_config("own", IMAGES))
    assert_in_production(workspace, summary)
    assert sum(summary["rows"].values()) == 60


def test_a_cnn_is_judged_on_the_test_folder_when_there_is_one(workspace: Workspace) -> None:
    write_pictures(workspace.root / "pictures", {"train": 15, "test": 5})
    summary = workspace.done("run", workspace.write_config("own", IMAGES))
    assert_in_production(workspace, summary)
    assert summary["rows"]["test"] == 15
    assert summary["rows"]["train"] + summary["rows"]["validation"] == 45


@pytest.mark.parametrize(
    ("file", "encoding", "rows", "model"),
    [
        ("own.csv", "utf-8", 300, TRANSFORMER),
        ("own.tsv", "latin-1", 300, TRANSFORMER),
        ("own.parquet", "utf-8", 200, MINILM),
    ],
    ids=["transformer on CSV", "transformer on TSV in latin-1", "minilm on Parquet"],
)
def test_a_language_model_learns_a_table(
    workspace: Workspace, file: str, encoding: str, rows: int, model: dict[str, Any]
) -> None:
    write_table(workspace.root / file, encoding, sentences(rows))
    config = workspace.write_config("own", TEXTS % {"file": file, "encoding": encoding, **model})
    summary = workspace.done("run", config)
    assert_in_production(workspace, summary)
    assert sum(summary["rows"].values()) == rows
    stored = pa.parquet.read_table(workspace.root / "data" / "own" / "examples.parquet")
    assert any("café" in text for text in stored["text"].to_pylist())


GUARD = '''
"""Every process of the run refuses to leave this machine, and writes down who tried."""
import os, sys

def guard(event, arguments):
    if event == "socket.connect" or event == "socket.sendto":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # else a path: a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", "0.0.0.0", "::", "::1") or host.startswith("127."):
        return
    with open(os.environ["NETWORK_ATTEMPTS"], "a") as stream:
        stream.write(f"{event} {host} by {sys.argv}\\n")
    raise OSError(f"no network: {event} {host}")

sys.addaudithook(guard)
with open(os.environ["NETWORK_GUARDED"], "a") as stream:
    stream.write(f"{getattr(sys, 'orig_argv', sys.argv)}\\n")
'''


def test_a_run_from_nothing_needs_no_network_and_asks_for_none(
    copy: Callable[[Path], Workspace], bare: Path, tmp_path: Path
) -> None:
    """With a server of its own and a packaged checkpoint, so that every library has its chance to call home."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    attempts, guarded = tmp_path / "attempts", tmp_path / "guarded"
    alone = copy(bare)
    path = ":".join([str(tmp_path / "guard"), *filter(None, [alone.environment.get("PYTHONPATH")])])
    offline = alone.with_environment(PYTHONPATH=path, NETWORK_ATTEMPTS=str(attempts), NETWORK_GUARDED=str(guarded))
    write_table(offline.root / "own.jsonl", "utf-8", sentences(200))
    config = offline.write_config("own", TEXTS % {"file": "own.jsonl", "encoding": "utf-8", **MINILM})

    summary = offline.done("run", config)

    assert not attempts.exists(), attempts.read_text()
    assert_in_production(offline, summary)
    for program in ("modelworks', 'run", "flows.server", "modelworks.training"):
        assert program in guarded.read_text()
