"""Every field of the `train:` section that changes how weights are found changes the weights, and as it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainings import CPU, StopAt, equal, events

from modelworks.data.splits import TRAIN, VALIDATION
from modelworks.errors import BadInput
from modelworks.modalities.image import Processor
from modelworks.objectives.classification import Classification
from modelworks.preprocessing.preprocessed import PreprocessedDataset
from modelworks.training.config import AugmentConfig, TrainConfig
from modelworks.training.data_loader import Batch
from modelworks.training.distributed.context import World
from modelworks.training.loop import Stopped, Trained
from modelworks.training.monitoring.events import EventLog
from modelworks.training.optimization.optimizers import make_optimizer
from modelworks.training.optimization.train_step import Stepper

Fit = Callable[..., tuple[nn.Module, Trained]]

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


class Linear(nn.Module):
    """Weights and nothing else, with room for any number of examples."""

    most = 1000

    def __init__(self, *more: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), *more)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.training and len(pixels) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(pixels)}")
        return self.layers(pixels)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class Narrow(Linear):
    """Runs out of memory on more than a few examples at once, as a GPU would."""

    most = 5


def distance(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return max(float((first - second).detach().abs().max()) for first, second in pairs)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_field_changes_the_weights_and_a_resume_keeps_its_bits(fit: Fit, change: dict[str, Any]) -> None:
    changed, _ = fit("changed", **change)
    assert not equal(fit("plain")[0], changed)
    with pytest.raises(Stopped):
        fit("work", stop=StopAt(14), **change)
    assert equal(changed, fit("work", **change)[0])


@pytest.mark.parametrize("accumulate", [2, 3, 16, 50])
@pytest.mark.parametrize(
    "change", [{}, {"objective": {"class_weights": "balanced", "label_smoothing": 0.1}}], ids=["plain", "weighted"]
)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(fit: Fit, accumulate: int, change: dict[str, Any]) -> None:
    settings = {"network": Linear, "optimizer": "sgd", **change}
    whole, _ = fit("whole", **settings)
    parts, trained = fit("parts", accumulate=accumulate, **settings)
    assert trained.steps == 30
    assert distance(whole, parts) < 1e-5


def test_rare_classes_weigh_more(fit: Fit, pictures: PreprocessedDataset) -> None:
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


def test_the_average_lies_between_the_weights_it_was_taken_over(fit: Fit) -> None:
    last, _ = fit("last")
    assert distance(fit("slow", ema=0.99)[0], last) > distance(fit("fast", ema=0.5)[0], last) > 0


class Grokking(nn.Module):
    """Learns and then is made to forget: the best epoch is known beforehand."""

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
def test_the_best_epoch_is_kept_and_patience_ends_the_training(fit: Fit, tmp_path: Path, monitor: str) -> None:
    settings = {"network": Grokking, "epochs": 9, "monitor": monitor, "keep": "best"}
    model, trained = fit(patience=3, **settings)
    told = events(tmp_path / "work")
    best = next(event for event in told if event["type"] == "early_stop")["best_step"]
    assert best in (10, 20)
    assert trained.steps == best + 30
    assert model.taken == best
    patient, trained = fit("patient", **settings)
    assert trained.steps == 90
    assert equal(model, patient)


@pytest.mark.parametrize("step", [20, 21, 35, 49])
def test_the_best_epoch_survives_a_stop(fit: Fit, step: int) -> None:
    settings = {"network": Grokking, "epochs": 9, "keep": "best", "patience": 3, "ema": 0.5}
    whole, _ = fit("whole", **settings)
    with pytest.raises(Stopped):
        fit(stop=StopAt(step), **settings)
    assert equal(whole, fit(**settings)[0])


@pytest.mark.parametrize(("max_steps", "epochs"), [(5, 1), (10, 1), (14, 2), (1000, 3)])
def test_max_steps_end_the_training_and_its_schedule(fit: Fit, tmp_path: Path, max_steps: int, epochs: int) -> None:
    whole, trained = fit("whole", max_steps=max_steps)
    assert trained.steps == min(max_steps, 30)
    told = events(tmp_path / "whole")
    assert (told[0]["steps"], told[0]["epochs"]) == (trained.steps, epochs)
    assert [event["step"] for event in told if event["type"] == "epoch"][-1] == trained.steps
    rates = [event["learning_rate"] for event in told if event["type"] == "step"]
    assert rates[-1] < 0.01 / 2
    with pytest.raises(Stopped):
        fit(max_steps=max_steps, stop=StopAt(3))
    assert equal(whole, fit(max_steps=max_steps)[0])


def test_max_steps_and_patience_end_a_training_at_the_first_of_them(fit: Fit) -> None:
    settings = {"network": Grokking, "epochs": 9, "keep": "best", "patience": 3}
    _, unlimited = fit("unlimited", **settings)
    _, same = fit("same", max_steps=unlimited.steps + 10, **settings)
    assert same.steps == unlimited.steps
    limited, trained = fit("limited", max_steps=25, **settings)
    assert trained.steps == 25
    assert limited.taken == 20


def test_when_memory_does_not_suffice_a_batch_is_computed_in_parts(fit: Fit, tmp_path: Path) -> None:
    settings = {"optimizer": "sgd"}
    whole, _ = fit("whole", network=Linear, **settings)
    with pytest.raises(Stopped):
        fit(network=Narrow, stop=StopAt(7), **settings)
    parts, trained = fit(network=Narrow, **settings)
    assert trained.steps == 30
    assert distance(whole, parts) < 1e-5
    told = [event for event in events(tmp_path / "work") if event["type"] == "memory"]
    assert [(event["parts"], event["examples"]) for event in told] == [(2, 8), (4, 4)]  # and not again after the resume


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: Narrow(nn.BatchNorm1d(2)), "batch norms"),
        (type("Nothing", (Narrow,), {"most": 0}), "even one example"),
    ],
    ids=["batch norm", "one example"],
)
def test_what_cannot_be_computed_in_parts_is_said(fit: Fit, network: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(BadInput, match="memory does not suffice: no room for") as caught:
        fit(network=network)
    assert said in caught.value.hint


class Cramped(Linear):
    """Runs out of memory where there is none to spare for gradients."""

    room = 7

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if not self.training and len(pixels) > self.room:
            raise torch.OutOfMemoryError(f"no room for {len(pixels)}")
        return super().forward(pixels)


def test_when_memory_does_not_suffice_the_validation_is_computed_in_parts(fit: Fit, tmp_path: Path) -> None:
    fit("whole", network=Linear)
    fit(network=Cramped)
    figures, expected = (
        [event["validation_loss"] for event in events(tmp_path / folder) if event["type"] == "epoch"]
        for folder in ("work", "whole")
    )
    assert figures == pytest.approx(expected, rel=1e-5)


def test_a_validation_for_which_no_memory_suffices_is_said(fit: Fit) -> None:
    with pytest.raises(BadInput, match="memory does not suffice for validation: no room for 1") as caught:
        fit(network=type("Nothing", (Cramped,), {"room": 0}))
    assert "smaller inputs" in caught.value.hint


def test_a_compiled_training_out_of_memory_is_told_to_take_smaller_batches(tmp_path: Path) -> None:
    model, config = Narrow(), TrainConfig(epochs=1, compile=True)
    told = EventLog(tmp_path / "events.jsonl")
    processor, objective = Processor({}), Classification({"classes": ["a", "b"]})
    stepper = Stepper(model, make_optimizer(model, config), processor, objective, config, CPU, World(), told)
    batch = Batch(np.arange(8), {"pixels": torch.zeros(8, 1, 6, 6)}, {"label": torch.zeros(8, dtype=torch.int64)})
    with pytest.raises(BadInput, match="no room for 8") as caught:
        stepper.step(batch, rate=0.1)
    told.close()
    assert caught.value.hint.startswith("lower train.batch_size")
    assert "train.compile" in caught.value.hint


@pytest.mark.parametrize("other", [{"accumulate": 2}, {"batch_tokens": 1000}], ids=lambda other: next(iter(other)))
def test_compile_is_refused_beside_what_it_cannot_do(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"compile .*{next(iter(other))}"):
        TrainConfig(epochs=1, compile=True, **other)
