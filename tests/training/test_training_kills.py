"""A training killed at any point and resumed gives the same bits as an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from samples.datasets import labelled

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources.base import Examples
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.models.config import Cnn, ModelConfig, Pretrained, Transformer
from modelworks.training.config import AugmentConfig, TrainConfig
from modelworks.training.hardware import Hardware, environment
from modelworks.training.job import Job

pytestmark = pytest.mark.slow

KINDS: dict[str, ModelConfig] = {
    "cnn": Cnn(kind="cnn", hidden=4, dropout=0.2),
    "transformer": Transformer(kind="transformer", vocabulary=300, max_tokens=12, width=8, layers=1, heads=2),
    "pretrained": Pretrained(kind="pretrained", checkpoint="tiny", max_tokens=12),
}

STEPS = 24
POINTS = [
    *(("step", number) for number in (1, 2, 5, 8, 12, 13, 16, 20, 23, 24)),
    ("write", 1),
    ("write", 4),
    ("manifest", 3),
    ("rename", 5),
    ("prune", 2),
]
"""Where a training is killed: at the n-th step, and for the n-th checkpoint halfway through its file, before its
manifest, before its rename and before the oldest one is deleted."""
KILLS = {"cpu": POINTS, "cuda": [("step", 13), ("step", 23), ("write", 4)]}
"""Points by device; fewer on a GPU, where every attempt starts the device first."""

UNINTERRUPTED = ("uninterrupted", "again", "other precision", "other precision again")

PROGRAM = """
import json, os, shutil, signal, sys
from pathlib import Path

from modelworks.pipeline import stage_store
from modelworks.training import checkpoint, fit
from modelworks.training.optimization import train_step  # imported once, before the forks
from modelworks.training.monitoring.events import EventLog
from modelworks.training.job import Job

if sys.argv[1] == "pretrained":
    import transformers
    transformers.AutoConfig, transformers.AutoModelForSequenceClassification, transformers.BertForSequenceClassification

def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def kill_at(what, number):
    seen = 0
    places = {
        "step": (train_step.Stepper, "step"),
        "write": (checkpoint, "_save"),
        "manifest": (stage_store, "publish"),
        "rename": (stage_store.Path, "rename"),
        "prune": (checkpoint.shutil, "rmtree"),
    }
    owner, name = places[what]
    original = getattr(owner, name)

    def counted(*arguments, **named):
        nonlocal seen
        if what == "rename" and not str(arguments[1]).rpartition("/")[2].startswith("step-"):
            return original(*arguments, **named)
        if what == "prune" and not arguments[0].name.startswith("step-"):
            return original(*arguments, **named)
        seen += 1
        if seen == number:
            if what == "write":
                original(*arguments)
                arguments[1].truncate(arguments[1].tell() // 2)
            die()
        return original(*arguments, **named)

    setattr(owner, name, counted)

def attempt(job, point=None):
    child = os.fork()
    if not child:
        if point:
            kill_at(*point)
        fit.fit(job, EventLog(job.work / "events.jsonl"))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

ends = []
for name, point in json.loads(sys.argv[2]):
    job = Job.read(Path(name) / "job.json")
    ends.append([attempt(job, point) if point else None, attempt(job)])
print(json.dumps(ends))
"""


def sentences(folder: Path) -> Path:
    """Write a small data set of texts of many lengths."""
    draw = np.random.default_rng(0)
    words = ("the", "cat", "sat", "on", "a", "mat", "and", "so", "did", "dog")
    texts = [f"{' '.join(draw.choice(words, draw.integers(1, 12)))} {number}" for number in range(120)]
    columns = {"text": pa.array(texts), "label": pa.array([("a", "b")["cat" in text] for text in texts])}
    dataset_format.write(
        folder, "set", {}, Examples(features=labelled("text"), columns=columns, licence="", source_digest="")
    )  # type: ignore[arg-type]
    codes = np.where(np.arange(120) < 96, TRAIN, VALIDATION).astype(np.int8)
    np.save(folder / "splits.npy", codes)
    return folder


def tiny_bert(folder: Path) -> Path:
    """Write a checkpoint as on the hub: config.json, model.safetensors, tokenizer.json."""
    from transformers import BertConfig, BertModel

    from modelworks.modalities.text import Processor

    processor = Processor.fit(["the cat sat on a mat"], {"vocabulary": 300, "max_tokens": 12}, {})
    processor.save(folder)
    size = processor.spec["vocabulary"]
    config = BertConfig(
        vocab_size=size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (kind, device),
            id=f"{kind}-{device}",
            marks=pytest.mark.skipif(device == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
        )
        for kind in KINDS
        for device in KILLS
    ],
)
def outcomes(
    request: pytest.FixtureRequest, make_job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """Return the exit codes of a model's trainings by point, and the folder with their work folders."""
    kind, device = request.param
    root = tmp_path_factory.mktemp(f"{kind}-{device}")
    images = kind == "cnn"
    (root / "set").mkdir()
    (root / "checkpoint").mkdir()
    digits = make_job(root)
    folder = digits.dataset if images else sentences(root / "set")
    settings = {
        "epochs": 2 if images else 4,
        "batch_size": 120 if images else 16,
        "checkpoint_steps": 3,
        "learning_rate": 0.01,
        "ema": 0.8,
        "clip_norm": 1.0,
        "augment": AugmentConfig(shift=1) if images else AugmentConfig(),
    }
    points = {**dict.fromkeys(UNINTERRUPTED), **{f"{what} {number}": (what, number) for what, number in KILLS[device]}}
    for name in points:
        work = root / name
        work.mkdir()
        job = Job(
            **{
                **vars(digits),
                "dataset": folder,
                "dataset_digest": object_cache.listing_digest(object_cache.subtree(folder)),
                "splits": folder / "splits.npy",
                "decoded": root,
                "checkpoint": tiny_bert(root / "checkpoint") if kind == "pretrained" else None,
                "model": KINDS[kind],
                "train": TrainConfig(**settings),  # type: ignore[arg-type]  # of many types
                # Kill convolutions in fp32 and attention in bf16; only repeat the other precision.
                "hardware": Hardware(
                    device=device, precision="fp32" if images != name.startswith("other") else "bf16", threads=1
                ),
                "work": work,
            }
        )
        job.write(work / "job.json")
    attempts = json.dumps([[str(root / name), point] for name, point in points.items()])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, attempts],
        env={**os.environ, **environment(Hardware(device=device, precision="fp32", threads=1))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(points, json.loads(done.stdout), strict=True)), root


def weights(work: Path) -> str:
    return hashlib.sha256((work / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_training_killed_at_any_point_gives_the_same_bits(outcomes: tuple[dict[str, Any], Path]) -> None:
    ends, root = outcomes
    expected = {name: [None if name in UNINTERRUPTED else -signal.SIGKILL, 0] for name in ends}
    assert ends == expected, "a kill did not happen, or a resume failed"
    found = {name: weights(root / name) for name in ends if not name.startswith("other")}
    assert found == dict.fromkeys(found, found["uninterrupted"])


def test_each_precision_is_reproducible(outcomes: tuple[dict[str, Any], Path]) -> None:
    _, root = outcomes
    assert weights(root / "other precision") == weights(root / "other precision again")
    assert weights(root / "other precision") != weights(root / "uninterrupted")


def test_resume_starts_from_the_checkpoint(outcomes: tuple[dict[str, Any], Path]) -> None:
    _, root = outcomes
    late = [json.loads(line) for line in (root / "step 23" / "events.jsonl").read_text().splitlines()]
    starts = [event for event in late if event["type"] == "start"]
    assert [event["steps"] for event in starts] == [STEPS, STEPS]
    assert [event["resumed_from"] for event in starts] == [0, 21]
