"""Lightning's Trainer with its defaults: its loggers, checkpoints and progress bar."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import nn
from torch.nn import functional

from benchmarks.trainers.examples import as_usual, loader, relative_rate
from benchmarks.trainers.outcome import Stopwatch
from benchmarks.trainers.rows import Rows
from modelworks.training.job import Job

__all__ = ["train"]


def train(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch) -> None:
    """Train a module as in Lightning's quick start."""
    batches = loader(job, rows)
    trainer = lightning.Trainer(
        max_epochs=job.train.epochs,
        accelerator="gpu" if job.hardware.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if job.hardware.precision == "bf16" else "32-true",
        gradient_clip_val=job.train.clip_norm or None,
        default_root_dir=job.work / "lightning",
        callbacks=[_Timed(watch)],
    )
    trainer.fit(_Module(job, as_usual(network), len(batches) * job.train.epochs), batches)


class _Module(lightning.LightningModule):
    def __init__(self, job: Job, network: nn.Module, num_steps: int) -> None:
        super().__init__()
        self.network, self._job, self._num_steps = network, job, num_steps

    def training_step(self, batch: tuple[dict[str, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        inputs, labels = batch
        loss = functional.cross_entropy(self.network(**inputs), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        config = self._job.train
        optimizer = torch.optim.AdamW(self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, relative_rate(self._job, self._num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Timed(lightning.Callback):
    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def on_train_start(self, *_: Any) -> None:
        self._watch.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.current_epoch == (trainer.max_epochs or 0) - 1:  # before its last checkpoint
            self._watch.stop()
