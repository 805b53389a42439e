"""Effects of the fields of the `train:` section."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.trainings import StopAt, equal, events
from torch import nn
from training.fits import Fit, Linear, distance

from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.preprocessing.preprocessed import PreprocessedDataset
from modelworks.training.config import AugmentConfig, TrainConfig
from modelworks.training.loop import Stopped

CHANGES: dict[str, dict[str, Any]] = {
    "clip_norm": {"clip_norm": 0.01},
    "label_smoothing": {"objective": {"label_smoothing": 0.1}},
    "class_weights": {"objective": {"class_weights": "balanced"}},
    "ema": {"ema": 0.9},
    "augment": {"augment": AugmentConfig(shift=1)},
    "weight_decay": {"weight_decay": 0.5},
    "momentum": {"momentum": 0.5, "optimizer": "sgd"},
    "schedule": {"schedule": "cosine"},
    "warmup": {"warmup": 0.5},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_field_changes_the_weights_and_survives_a_resume(fit: Fit, change: dict[str, Any]) -> None:
    changed, _ = fit("changed", **change)
    assert not equal(fit("plain")[0], changed)
    with pytest.raises(Stopped):
        fit("work", stop=StopAt(14), **change)
    assert equal(changed, fit("work", **change)[0])


@pytest.mark.parametrize("accumulate", [2, 3, 16, 50])
@pytest.mark.parametrize(
    "change", [{}, {"objective": {"class_weights": "balanced", "label_smoothing": 0.1}}], ids=["plain", "weighted"]
)
def test_accumulated_gradient_equals_that_of_the_batch(fit: Fit, accumulate: int, change: dict[str, Any]) -> None:
    settings = {"network": Linear, "optimizer": "sgd", **change}
    expected, _ = fit("expected", **settings)
    parts, trained = fit("parts", accumulate=accumulate, **settings)
    assert trained.steps == 30
    assert distance(expected, parts) < 1e-5


def test_balanced_class_weights_favour_rare_classes(fit: Fit, pictures: PreprocessedDataset) -> None:
    rows = np.flatnonzero((pictures.targets["label"] == 1) & (pictures.splits == TRAIN))[5:]
    splits = pictures.splits.copy()
    splits[rows] = VALIDATION
    few = dataclasses.replace(pictures, splits=splits)
    settings = {"data": few, "epochs": 1, "network": Linear, "learning_rate": 1e-3, "optimizer": "sgd"}

    def share(model: nn.Module) -> float:
        everything = few.processor.collate(few.inputs, torch.arange(200))["pixels"]
        return float(model(everything).detach().softmax(-1)[:, 1].mean())

    assert share(fit("balanced", objective={"class_weights": "balanced"}, **settings)[0]) > share(
        fit("plain", **settings)[0]
    )


def test_average_is_between_the_averaged_weights(fit: Fit) -> None:
    last, _ = fit("last")
    assert distance(fit("slow", ema=0.99)[0], last) > distance(fit("fast", ema=0.5)[0], last) > 0


class Grokking(nn.Module):
    """Gets worse after some epochs, so that the best epoch is known."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 2)
        self.register_buffer("taken", torch.tensor(0))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.linear(pixels.flatten(1))
        if self.training:
            self.taken += 1
        return logits if self.taken <= 20 else -logits.detach() + 0 * logits


@pytest.mark.parametrize(
    "monitor", ["validation_loss", "validation_accuracy", "validation_log_loss", "validation_macro_f1"]
)
def test_best_epoch_is_kept_and_patience_stops_the_training(fit: Fit, tmp_path: Path, monitor: str) -> None:
    settings = {"network": Grokking, "epochs": 9, "monitor": monitor, "keep": "best"}
    model, trained = fit(patience=3, **settings)
    recorded = events(tmp_path / "work")
    best = next(event for event in recorded if event["type"] == "early_stop")["best_step"]
    assert best in (10, 20)
    assert trained.steps == best + 30
    assert model.taken == best
    patient, trained = fit("patient", **settings)
    assert trained.steps == 90
    assert equal(model, patient)


@pytest.mark.parametrize("step", [20, 21, 35, 49])
def test_best_epoch_survives_a_resume(fit: Fit, step: int) -> None:
    settings = {"network": Grokking, "epochs": 9, "keep": "best", "patience": 3, "ema": 0.5}
    expected, _ = fit("expected", **settings)
    with pytest.raises(Stopped):
        fit(stop=StopAt(step), **settings)
    assert equal(expected, fit(**settings)[0])


@pytest.mark.parametrize(("max_steps", "epochs"), [(5, 1), (10, 1), (14, 2), (1000, 3)])
def test_max_steps_ends_training_and_schedule(fit: Fit, tmp_path: Path, max_steps: int, epochs: int) -> None:
    expected, trained = fit("expected", max_steps=max_steps)
    assert trained.steps == min(max_steps, 30)
    recorded = events(tmp_path / "expected")
    assert (recorded[0]["steps"], recorded[0]["epochs"]) == (trained.steps, epochs)
    assert [event["step"] for event in recorded if event["type"] == "epoch"][-1] == trained.steps
    rates = [event["learning_rate"] for event in recorded if event["type"] == "step"]
    assert rates[-1] < 0.01 / 2
    with pytest.raises(Stopped):
        fit(max_steps=max_steps, stop=StopAt(3))
    assert equal(expected, fit(max_steps=max_steps)[0])


def test_training_ends_at_max_steps_or_patience(fit: Fit) -> None:
    settings = {"network": Grokking, "epochs": 9, "keep": "best", "patience": 3}
    _, unlimited = fit("unlimited", **settings)
    _, same = fit("same", max_steps=unlimited.steps + 10, **settings)
    assert same.steps == unlimited.steps
    limited, trained = fit("limited", max_steps=25, **settings)
    assert trained.steps == 25
    assert limited.taken == 20


@pytest.mark.parametrize("other", [{"accumulate": 2}, {"batch_tokens": 1000}], ids=lambda other: next(iter(other)))
def test_compile_rejects_unsupported_fields(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"compile .*{next(iter(other))}"):
        TrainConfig(epochs=1, compile=True, **other)
