"""The decoded rows of a job and its network with initial weights, for the other sides."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmarks.trainers.outcome import score
from modelworks.data import dataset_format
from modelworks.data.splits import TEST
from modelworks.modalities.base import processor_class
from modelworks.objectives.base import objective_class
from modelworks.preprocessing.batch_sampler import in_order
from modelworks.preprocessing.preprocessed import PreprocessedDataset, preprocessed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.training.job import Job

__all__ = ["Rows", "load", "make_network", "test"]

TEST_BATCH = 256


@dataclass(frozen=True)
class Rows:
    """The training rows."""

    data: PreprocessedDataset
    labels: torch.Tensor
    """int64 (n,)"""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_tokens(self) -> int:
        """Number of tokens of all texts without padding; 0 for images."""
        lengths = self.lengths
        return 0 if lengths is None else int(lengths.sum())

    @property
    def lengths(self) -> np.ndarray | None:
        """Number of tokens of each text; None for images."""
        return self.data.processor.lengths(self.data.inputs)

    def pixels(self) -> torch.Tensor:
        """Return all images: float32 (n, channels, height, width), normalised, channels last in memory."""
        return self.data.processor.collate(self.data.inputs, torch.arange(len(self)))["pixels"]

    def texts(self) -> list[list[int]]:
        """Return the token ids of each text."""
        tokens, offsets = self.data.inputs["tokens"], self.data.inputs["offsets"].tolist()
        return [tokens[start:end].tolist() for start, end in pairwise(offsets)]


def load(job: Job) -> Rows:
    """Return the decoded training rows of a job."""
    architecture = _architecture(job)
    processor = processor_class(job.model.modality)
    data = preprocessed(
        job.decoded,
        job.decoded_key,
        job.dataset,
        job.dataset_digest,
        np.load(job.splits),
        fit=lambda contents: processor.fit(contents, vars(job.model), architecture.assets(job.checkpoint)),
        load=processor,
        fit_objective=partial(objective_class(job.objective.kind).fit, asdict(job.objective)),
    )
    return Rows(data, torch.from_numpy(data.targets["label"]))


def make_network(job: Job, rows: Rows) -> nn.Module:
    """Return the network on its device, with initial weights from the job's seed."""
    architecture = _architecture(job)
    torch.manual_seed(job.train.seed)
    configuration = architecture.configure(vars(job.model), job.checkpoint)
    network = architecture.build(configuration, rows.data.processor.shape, rows.data.objective.num_outputs)
    architecture.initialise(network, job.checkpoint)
    network.to(job.hardware.device)
    assert isinstance(network, nn.Module)
    return network


def test_rows(job: Job, rows: Rows) -> tuple[list[Any], np.ndarray]:
    """Return the contents of the test rows and their class indices (n,)."""
    content = job.model.modality
    chosen = np.flatnonzero(np.load(job.splits) == TEST)
    columns = dataset_format.read(job.dataset, [content, "label"]).take(chosen).to_pydict()
    return columns[content], rows.data.objective.encode(columns)["label"]


def test(job: Job, rows: Rows, network: nn.Module) -> tuple[float, float]:
    """Return accuracy and macro F1 on the test rows, in fp32."""
    contents, labels = test_rows(job, rows)
    input_ = rows.data.processor
    arrays: Mapping[str, torch.Tensor] = input_.arrange(input_.decode(contents))
    predicted = np.empty(len(labels), np.int64)
    network.to(job.hardware.device).eval()
    with torch.inference_mode():
        for places in in_order(np.arange(len(labels)), input_.lengths(arrays), TEST_BATCH):
            logits = network(**input_.collate(arrays, torch.from_numpy(places), job.hardware.device))
            predicted[places] = logits.float().argmax(-1).cpu().numpy()
    return score(predicted, labels, rows.data.objective.num_outputs)


def _architecture(job: Job) -> Any:
    return importlib.import_module(f"modelworks.models.{job.model.kind}")
