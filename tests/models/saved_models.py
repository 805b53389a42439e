"""Saved models for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from modelworks.modalities import image
from modelworks.models import cnn, serialization
from modelworks.objectives import classification

CNN = "code/models/cnn.py"
IMAGE = b"P5\n4 4\n255\n" + bytes(range(16))


def save(folder: Path, architecture: Path, *, dtype: torch.dtype = torch.float32) -> str:
    processor = image.Processor.fit([IMAGE], {}, {})
    configuration = {"hidden": 4, "dropout": 0.0}
    torch.manual_seed(0)
    description = {
        "kind": "cnn",
        "modality": "image",
        "architecture": configuration,
        "shape": processor.shape,
    }
    return serialization.save(
        folder,
        description=description,
        network=cnn.build(configuration, processor.shape, 2).to(dtype),
        processor=processor,
        objective=classification.Classification({"classes": ["a", "b"]}),
        sources={**serialization.sources(cnn, image, classification), CNN: architecture.read_bytes()},
        training_ids=np.arange(3, dtype=np.uint64),
    )
