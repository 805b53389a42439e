"""The bare loop on a GPU, with a complete step captured as one CUDA graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.trainers.bare_loop import decay_groups
from benchmarks.trainers.outcome import WARM_UP
from modelworks.preprocessing.batch_sampler import BatchSampler
from modelworks.training.optimization.lr_schedule import learning_rate

if TYPE_CHECKING:
    from benchmarks.trainers.outcome import Stopwatch
    from benchmarks.trainers.rows import Rows
    from modelworks.training.job import Job

__all__ = ["train"]


def train(job: Job, rows: Rows, network: nn.Module, watch: Stopwatch) -> None:
    """Train.

    The number of rows must be a multiple of the batch size, and all texts must have one length.
    """
    config, device = job.train, job.hardware.device
    assert len(rows) % config.batch_size == 0
    assert rows.lengths is None or len(set(rows.lengths.tolist())) == 1
    inputs = {name: each.to(device) for name, each in _inputs(rows).items()}
    labels = rows.labels.to(device)
    places = torch.zeros(config.batch_size, dtype=torch.int64, device=device)
    rate = torch.zeros((), device=device)
    optimizer = torch.optim.AdamW(decay_groups(network, config), lr=rate, fused=True, capturable=True)
    parameters = list(network.parameters())

    def step() -> None:
        # Autocast's cached casts would outlive the graph's memory.
        with torch.autocast(device, torch.bfloat16, enabled=job.hardware.precision == "bf16", cache_enabled=False):
            logits = _logits(network, {name: each[places] for name, each in inputs.items()})
        functional.cross_entropy(logits.float(), labels[places]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if config.clip_norm:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()

    network.train()
    replay = _captured(step, network, optimizer)
    indices = torch.arange(len(rows)).numpy()
    schedule = BatchSampler(indices, None, epochs=config.epochs, batch_size=config.batch_size, seed=config.seed)
    rate_of = learning_rate(config, schedule.num_steps)
    rates = torch.tensor([rate_of(each) for each in range(schedule.num_steps)], device=device)
    watch.start()
    for epoch in range(config.epochs):
        order = torch.stack([torch.from_numpy(batch) for batch in schedule.batches(epoch)]).to(device)
        for number, batch in enumerate(order, start=schedule.first_step(epoch)):
            places.copy_(batch)
            rate.copy_(rates[number])
            replay()
    watch.stop()


def _inputs(rows: Rows) -> dict[str, torch.Tensor]:
    if rows.lengths is None:
        return {"pixels": rows.pixels()}
    # No mask, because no text is padded. Transformers drops a mask that masks nothing, to use flash attention, but
    # cannot check the mask during graph capture and would keep it.
    return {"tokens": rows.data.processor.collate(rows.data.inputs, torch.arange(len(rows)))["tokens"]}


def _logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = network.encoder(input_ids=inputs["tokens"]).logits if "tokens" in inputs else network(**inputs)
    assert isinstance(logits, torch.Tensor)
    return logits


def _captured(step: Any, network: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """Capture the step as a graph, after the warm-up that torch's notes on CUDA graphs require.

    Undo its updates.
    """
    first = {name: each.clone() for name, each in network.state_dict().items()}
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            optimizer.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad(set_to_none=True)  # the graph allocates its own gradients
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    network.load_state_dict(first)
    for state in optimizer.state.values():
        for each in state.values():
            each.zero_()
    return graph.replay
