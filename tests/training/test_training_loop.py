"""The loop itself: what fixes it, what it tells, and when it gives up."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelworks.data.decoded import DecodedSet
from modelworks.data.packed import TRAIN, VALIDATION
from modelworks.modalities.image import Input
from modelworks.models import cnn
from modelworks.training.checkpoint import Checkpoints, _save
from modelworks.training.config import TrainConfig
from modelworks.training.events import EventLog
from modelworks.training.hardware import Hardware
from modelworks.training.loop import Stop, Stopped, Trained, train
from modelworks.training.meter import Diverged

CPU = Hardware(device="cpu", precision="fp32", threads=1)


@pytest.fixture
def data() -> DecodedSet:
    """Bright and dark pictures of 6x6, a few of them for validation."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    pixels = (generator.integers(0, 100, (200, 6, 6, 1)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    spec = {"height": 6, "width": 6, "channels": 1, "mean": [100.0], "std": [60.0]}
    splits = np.where(np.arange(200) < 160, TRAIN, VALIDATION).astype(np.int8)
    ids = np.arange(200, dtype=np.uint64)
    return DecodedSet(arrays={"pixels": pixels}, labels=labels, splits=splits, ids=ids, input=Input(spec))


@pytest.fixture
def fit(data: DecodedSet, tmp_path: Path) -> Iterator[Callable[..., tuple[nn.Module, Trained]]]:
    """`fit(folder, **settings)` trains a fresh network; its events are in `tmp_path/folder/events.jsonl`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(
        folder: str = "work",
        data: DecodedSet = data,
        hardware: Hardware = CPU,
        stop: Stop | None = None,
        **settings: Any,
    ) -> tuple[nn.Module, Trained]:
        config = TrainConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.01, **settings})
        work = tmp_path / folder
        work.mkdir(exist_ok=True)
        torch.manual_seed(config.seed)
        model = cnn.build({"hidden": 8, "dropout": 0.2}, data.input.shape, 2)
        events = EventLog(work / "events.jsonl")
        try:
            trained = train(
                model, data, config, hardware, Checkpoints(work / "checkpoints", "key"), events, stop or Stop()
            )
        finally:
            events.close()
        return model, trained

    yield run
    torch.set_num_threads(threads)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def equal(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_seed_fixes_the_bits(fit: Callable[..., tuple[nn.Module, Trained]], precision: Any) -> None:
    hardware = dataclasses.replace(CPU, precision=precision)
    first, trained = fit("one", hardware=hardware)
    assert (trained.steps, trained.examples_per_second > 0) == (30, True)
    assert equal(first, fit("two", hardware=hardware)[0])
    assert not equal(first, fit("three", hardware=hardware, seed=1)[0])
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())


def test_it_learns(fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path) -> None:
    fit()
    last = [event for event in events(tmp_path / "work") if event["type"] == "epoch"][-1]
    assert last["validation_accuracy"] == 1.0
    assert last["validation_loss"] < 0.2


def test_events_tell_the_whole_story(fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path) -> None:
    fit(checkpoint_seconds=1e-9, epochs=1)
    told = events(tmp_path / "work")
    assert [event["type"] for event in told] == ["start", *["step", "checkpoint"] * 10, "epoch"]
    assert told[0] | {"time": 0} == {
        "type": "start",
        "time": 0,
        "steps": 10,
        "epochs": 1,
        "parameters": told[0]["parameters"],
        "resumed_from": 0,
    }
    step = told[-3]
    assert (step["step"], step["epoch"], step["seconds_left"]) == (10, 1, 0)
    assert step.keys() == {
        "type",
        "time",
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "examples_per_second",
        "seconds_left",
        "memory_mb",
    }
    assert step["memory_mb"] > 10


def test_without_validation_rows_an_epoch_has_no_figures(
    fit: Callable[..., tuple[nn.Module, Trained]], data: DecodedSet, tmp_path: Path
) -> None:
    fit(data=dataclasses.replace(data, splits=np.full(200, TRAIN, np.int8)), epochs=1)
    assert events(tmp_path / "work")[-1].keys() == {"type", "time", "step", "epoch"}


class StopAt(Stop):
    """Asks to stop once a number of steps was taken, as a signal would."""

    def __init__(self, step: int) -> None:
        self.left = step

    @property
    def requested(self) -> int:  # type: ignore[override]  # the loop looks once a step
        self.left -= 1
        return signal.SIGTERM if self.left == 0 else 0


@pytest.mark.parametrize("step", [1, 7, 10, 11, 20, 29, 30])
@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "clip_norm": 0.5}], ids=["adamw", "sgd"])
def test_a_stop_at_any_step_and_a_resume_end_in_the_same_bits(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path, step: int, settings: dict[str, Any]
) -> None:
    whole, _ = fit("whole", **settings)
    with pytest.raises(Stopped):
        fit(stop=StopAt(step), **settings)
    resumed, trained = fit(**settings)
    assert equal(whole, resumed)
    assert trained.steps == 30
    told = events(tmp_path / "work")
    assert [event["resumed_from"] for event in told if event["type"] == "start"] == [0, step]
    assert {event["epoch"] for event in told if event["type"] == "epoch"} == {1, 2, 3}


def test_a_damaged_checkpoint_is_skipped_and_the_older_one_used(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path
) -> None:
    whole, _ = fit("whole")
    with pytest.raises(Stopped):
        fit(stop=StopAt(13), checkpoint_seconds=1e-9)
    folder = tmp_path / "work" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-12", "step-13"]
    state = folder / "step-13" / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    (folder / ".step-14-torn").mkdir()
    resumed, _ = fit()
    assert equal(whole, resumed)
    assert [event["resumed_from"] for event in events(tmp_path / "work") if event["type"] == "start"] == [0, 12]


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    Checkpoints(tmp_path / "checkpoints", "one").save(5, model, optimizer, {"seconds": 1.5})
    assert Checkpoints(tmp_path / "checkpoints", "one").restore(model, optimizer) == (5, {"seconds": 1.5})
    assert Checkpoints(tmp_path / "checkpoints", "two").restore(model, optimizer) == (0, {})


def test_a_full_disk_is_told_in_the_disks_words() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        _save({"tensor": torch.zeros(10_000)}, stream)


def test_no_number_is_noticed_at_the_next_event_and_never_kept(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step"):
        fit(learning_rate=1e30, optimizer="sgd", schedule="constant", checkpoint_seconds=1e-9)
    for folder in (tmp_path / "work" / "checkpoints").glob("step-*"):
        step = int(folder.name.removeprefix("step-"))
        losses = {event["step"]: event["loss"] for event in events(tmp_path / "work") if event["type"] == "step"}
        assert np.isfinite(losses[step])


def test_the_last_batch_may_be_of_one_example(fit: Callable[..., tuple[nn.Module, Trained]], data: DecodedSet) -> None:
    odd = np.where(np.arange(200) < 33, TRAIN, VALIDATION).astype(np.int8)
    _, trained = fit(data=dataclasses.replace(data, splits=odd), epochs=2)
    assert trained.steps == 2 * 3
