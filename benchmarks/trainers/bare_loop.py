"""The bare loop: plain PyTorch with the same optimizations as ours, without log and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from modelworks.preprocessing.batch_sampler import BatchSampler
from modelworks.training.optimization.lr_schedule import learning_rate

if TYPE_CHECKING:
    from benchmarks.trainers.outcome import Stopwatch
    from benchmarks.trainers.rows import Rows
    from modelworks.training.config import TrainConfig
    from modelworks.training.job import Job

__all__ = ["decay_groups", "train"]

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


def train(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch) -> None:
    """Train with batches by index (normalised images, texts bucketed by length), fused AdamW, deterministic kernels."""
    config, device = job.train, job.hardware.device
    torch.set_deterministic_debug_mode("error")
    optimizer = torch.optim.AdamW(decay_groups(network, config), lr=config.learning_rate, fused=True)
    parameters = list(network.parameters())
    schedule = BatchSampler(
        np.arange(len(rows)), rows.lengths, epochs=config.epochs, batch_size=config.batch_size, seed=config.seed
    )
    rate_of = learning_rate(config, schedule.num_steps)
    cut = _Images(rows, device) if rows.lengths is None else _Texts(rows, device)
    network.train()
    step = 0
    watch.start()
    for epoch in range(config.epochs):
        for inputs, target in cut(schedule.batches(epoch)):
            for group in optimizer.param_groups:
                group["lr"] = rate_of(step)
            with torch.autocast(device, torch.bfloat16, enabled=job.hardware.precision == "bf16"):
                logits = network(**inputs)
            functional.cross_entropy(logits.float(), target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if config.clip_norm:
                nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
    watch.stop()


def decay_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """Return parameter groups without weight decay for norms and biases."""
    weights = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    return [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]


class _Images:
    """All normalised pixels on the device."""

    def __init__(self, rows: Rows, device: str) -> None:
        self._pixels, self._labels = rows.pixels().to(device), rows.labels.to(device)

    def __call__(self, batches: list[np.ndarray]) -> Iterator[Batch]:
        for batch in map(torch.from_numpy, batches):
            places = batch.to(self._labels.device, non_blocking=True)
            yield {"pixels": self._pixels[places]}, self._labels[places]


class _Texts:
    """Concatenated tokens, padded batch by batch."""

    def __init__(self, rows: Rows, device: str) -> None:
        self._input, self._device, self._labels = rows.data.processor, device, rows.labels.to(device)
        self._arrays = {**rows.data.inputs, "tokens": rows.data.inputs["tokens"].to(device)}

    def __call__(self, batches: list[np.ndarray]) -> Iterator[Batch]:
        for batch in map(torch.from_numpy, batches):
            target = self._labels[batch.to(self._device, non_blocking=True)]
            yield self._input.collate(self._arrays, batch, self._device), target
