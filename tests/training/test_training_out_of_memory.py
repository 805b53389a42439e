"""Out of memory: the batch is split, or the error names the field to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from samples.trainings import CPU, StopAt, events
from torch import nn
from training.fits import Fit, Linear, distance

from modelworks.errors import BadInput
from modelworks.modalities.image import Processor
from modelworks.objectives.classification import Classification
from modelworks.training.config import TrainConfig
from modelworks.training.data_loader import Batch
from modelworks.training.distributed.context import World
from modelworks.training.loop import Stopped
from modelworks.training.monitoring.events import EventLog
from modelworks.training.optimization.optimizers import make_optimizer
from modelworks.training.optimization.train_step import Stepper


class Narrow(Linear):
    """Runs out of memory on more than a few examples, like a GPU."""

    most = 5


def test_out_of_memory_splits_the_batch(fit: Fit, tmp_path: Path) -> None:
    settings = {"optimizer": "sgd"}
    expected, _ = fit("expected", network=Linear, **settings)
    with pytest.raises(Stopped):
        fit(network=Narrow, stop=StopAt(7), **settings)
    parts, trained = fit(network=Narrow, **settings)
    assert trained.steps == 30
    assert distance(expected, parts) < 1e-5
    recorded = [event for event in events(tmp_path / "work") if event["type"] == "memory"]
    assert [(event["parts"], event["examples"]) for event in recorded] == [
        (2, 8),
        (4, 4),
    ]  # and not again after the resume


@pytest.mark.parametrize(
    ("network", "hint"),
    [
        (lambda: Narrow(nn.BatchNorm1d(2)), "batch norms"),
        (type("Nothing", (Narrow,), {"most": 0}), "one example"),
    ],
    ids=["batch norm", "one example"],
)
def test_out_of_memory_without_a_smaller_batch_is_bad_input(
    fit: Fit, network: Callable[[], nn.Module], hint: str
) -> None:
    with pytest.raises(BadInput, match="no room for") as caught:
        fit(network=network)
    assert caught.value.code == "training.memory"
    assert hint in caught.value.hint


class Cramped(Linear):
    """Runs out of memory in validation."""

    room = 7

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self.training and len(pixels) > self.room:
            raise torch.OutOfMemoryError(f"no room for {len(pixels)}")
        return super().forward(pixels)


def test_out_of_memory_splits_the_validation(fit: Fit, tmp_path: Path) -> None:
    fit("expected", network=Linear)
    fit(network=Cramped)
    figures, expected = (
        [event["validation_loss"] for event in events(tmp_path / folder) if event["type"] == "epoch"]
        for folder in ("work", "expected")
    )
    assert figures == pytest.approx(expected, rel=1e-5)


def test_out_of_memory_on_one_validation_row_is_bad_input(fit: Fit) -> None:
    with pytest.raises(BadInput, match="validation: no room for 1") as caught:
        fit(network=type("Nothing", (Cramped,), {"room": 0}))
    assert caught.value.code == "training.memory"


def test_out_of_memory_of_a_compiled_training_is_bad_input(tmp_path: Path) -> None:
    model, config = Narrow(), TrainConfig(epochs=1, compile=True)
    log = EventLog(tmp_path / "events.jsonl")
    processor, objective = Processor({}), Classification({"classes": ["a", "b"]})
    stepper = Stepper(model, make_optimizer(model, config), processor, objective, config, CPU, World(), log)
    batch = Batch(np.arange(8), {"pixels": torch.zeros(8, 1, 6, 6)}, {"label": torch.zeros(8, dtype=torch.int64)})
    with pytest.raises(BadInput, match="no room for 8") as caught:
        stepper.step(batch, rate=0.1)
    log.close()
    assert caught.value.hint.startswith("lower train.batch_size")
    assert "train.compile" in caught.value.hint
