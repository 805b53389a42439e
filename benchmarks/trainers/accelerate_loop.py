"""The training loop of accelerate's quick start, without log, checkpoints and progress bar."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional

from benchmarks.trainers.examples import as_usual, loader, relative_rate
from benchmarks.trainers.outcome import Stopwatch
from benchmarks.trainers.rows import Rows
from modelworks.training.job import Job

__all__ = ["train"]


def train(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch) -> None:
    """Train with accelerate's defaults."""
    config = job.train
    accelerator = Accelerator(
        cpu=job.hardware.device == "cpu", mixed_precision="bf16" if job.hardware.precision == "bf16" else "no"
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    batches = loader(job, rows)
    rate = relative_rate(job, len(batches) * config.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model, optimizer, batches, schedule = accelerator.prepare(as_usual(network), optimizer, batches, schedule)
    model.train()
    watch.start()
    for _ in range(config.epochs):
        for inputs, labels in batches:
            loss = functional.cross_entropy(model(**inputs), labels)
            accelerator.backward(loss)
            if config.clip_norm:
                accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    watch.stop()
