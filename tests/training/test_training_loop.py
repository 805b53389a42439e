"""The training loop: reproducibility, events, resumes and divergence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.trainings import StopAt, equal, events
from torch import nn

from modelworks.data.random_access import FileRows
from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.preprocessing.preprocessed import PreprocessedDataset
from modelworks.training.loop import Stopped, Trained
from modelworks.training.monitoring.progress import Diverged


def test_training_lowers_the_loss(fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path) -> None:
    fit()
    last = [event for event in events(tmp_path / "work") if event["type"] == "epoch"][-1]
    assert last["validation_accuracy"] == 1.0
    assert last["validation_loss"] < 0.2


def test_events_of_a_training(fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path) -> None:
    fit(checkpoint_steps=1, epochs=1)
    recorded = events(tmp_path / "work")
    assert [event["type"] for event in recorded] == ["start", *["step", "checkpoint"] * 10, "epoch"]
    assert recorded[0] | {"time": 0} == {
        "type": "start",
        "time": 0,
        "steps": 10,
        "epochs": 1,
        "parameters": recorded[0]["parameters"],
        "resumed_from": 0,
        "precision": "fp32",
        "precision_source": "config",
        "product_rates": {},
    }
    step = recorded[-3]
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


def test_rows_read_from_a_file_give_the_same_weights(
    fit: Callable[..., tuple[nn.Module, Trained]], pictures: PreprocessedDataset, tmp_path: Path
) -> None:
    pixels = pictures.inputs["pixels"].numpy()
    pixels.tofile(tmp_path / "pixels.bin")
    files = {"pixels": FileRows(tmp_path / "pixels.bin", pixels.dtype, pixels.shape)}
    nowhere = {"pixels": torch.zeros_like(pictures.inputs["pixels"])}
    mapped, _ = fit("mapped")
    read, _ = fit("read", data=dataclasses.replace(pictures, files=files, inputs=nowhere))
    assert equal(mapped, read)


def test_epoch_event_without_validation_rows_has_no_metrics(
    fit: Callable[..., tuple[nn.Module, Trained]], pictures: PreprocessedDataset, tmp_path: Path
) -> None:
    fit(data=dataclasses.replace(pictures, splits=np.full(200, TRAIN, np.int8)), epochs=1)
    assert events(tmp_path / "work")[-1].keys() == {"type", "time", "step", "epoch"}


@pytest.mark.parametrize("step", [1, 7, 10, 11, 20, 29, 30])
@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd", "clip_norm": 0.5}], ids=["adamw", "sgd"])
def test_stop_at_any_step_and_resume_give_the_same_bits(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path, step: int, settings: dict[str, Any]
) -> None:
    expected, _ = fit("expected", **settings)
    with pytest.raises(Stopped):
        fit(stop=StopAt(step), **settings)
    resumed, trained = fit(**settings)
    assert equal(expected, resumed)
    assert trained.steps == 30
    recorded = events(tmp_path / "work")
    assert [event["resumed_from"] for event in recorded if event["type"] == "start"] == [0, step]
    assert {event["epoch"] for event in recorded if event["type"] == "epoch"} == {1, 2, 3}


def test_nan_loss_is_detected_at_its_step_and_not_saved(
    fit: Callable[..., tuple[nn.Module, Trained]], pictures: PreprocessedDataset, tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match=r"(nan|inf) at step \d") as caught:
        fit(learning_rate=1e30, optimizer="sgd", schedule="constant", checkpoint_steps=3)
    assert len(caught.value.batch) == 16
    assert caught.value.rate > 1e20
    assert not {"step", "checkpoint"} & {
        each["type"] for each in events(tmp_path / "work") if each.get("step") == caught.value.step
    }
    kept = [int(each.name.removeprefix("step-")) for each in (tmp_path / "work" / "checkpoints").glob("step-*")]
    assert all(step < caught.value.step for step in kept)


def test_checkpoint_with_nan_weights_is_not_written(
    fit: Callable[..., tuple[nn.Module, Trained]], tmp_path: Path
) -> None:
    class Poisoned(nn.Linear):
        """Has a finite loss and a NaN weight that no output depends on."""

        def __init__(self) -> None:
            super().__init__(36, 2)
            self.unused = nn.Parameter(torch.tensor(1.0))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            self.unused.data.fill_(float("nan"))
            return super().forward(pixels.flatten(1))

    with pytest.raises(Diverged, match=r"weight .* at step 3"):
        fit(network=Poisoned, checkpoint_steps=3)
    assert not list((tmp_path / "work").rglob("step-*"))


def test_last_batch_may_have_one_example(
    fit: Callable[..., tuple[nn.Module, Trained]], pictures: PreprocessedDataset
) -> None:
    odd = np.where(np.arange(200) < 33, TRAIN, VALIDATION).astype(np.int8)
    _, trained = fit(data=dataclasses.replace(pictures, splits=odd), epochs=2)
    assert trained.steps == 2 * 3
