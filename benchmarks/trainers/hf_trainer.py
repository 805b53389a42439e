"""HF Trainer with its default data loader, optimizer, log, checkpoints and progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.trainers.examples import Images, as_usual, texts

if TYPE_CHECKING:
    from benchmarks.trainers.outcome import Stopwatch
    from benchmarks.trainers.rows import Rows
    from modelworks.training.job import Job

__all__ = ["train", "train_grouped"]


def train(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch, sampling: str = "random") -> None:
    """Train with stacked images, or texts padded to the longest of their batch."""
    config = job.train
    arguments = TrainingArguments(
        output_dir=str(job.work / "hf"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup,  # a value below 1 is a share
        max_grad_norm=config.clip_norm,
        seed=config.seed,
        train_sampling_strategy=sampling,
        bf16=job.hardware.precision == "bf16",
        use_cpu=job.hardware.device == "cpu",
        report_to="none",
    )
    if rows.lengths is None:
        trainer = Trainer(
            _WithLoss(as_usual(network)), arguments, train_dataset=Images(rows), callbacks=[_Timed(watch)]
        )
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=rows.data.processor.tokenizer, pad_token="[PAD]")  # type: ignore[attr-defined]  # of texts
        trainer = Trainer(
            as_usual(network).encoder,
            arguments,
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=texts(rows),
            processing_class=tokenizer,
            callbacks=[_Timed(watch)],
        )
    trainer.train()


def train_grouped(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch) -> None:
    """Train with texts of similar length in a batch."""
    train(job, rows, network, watch, "group_by_length")


class _Timed(TrainerCallback):
    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._watch.start()

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step == state.max_steps:  # before its last checkpoint
            self._watch.stop()


class _WithLoss(nn.Module):
    """Adapt the network to the call of HF Trainer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}
