"""The helper that the benchmark edits: the training calls it, and no pipeline lists it."""

import torch
from torch.nn import functional

SMOOTHING = 0.1


def smoothed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of logits (n, 10) and labels (n,), with label smoothing."""
    return functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
