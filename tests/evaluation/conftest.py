"""Fixtures: a small validated data set and a saved model for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from modelworks.data import dataset_format
from modelworks.data.sources.base import Examples
from modelworks.data.splits import QUARANTINED, TEST, TRAIN
from modelworks.modalities import image, text
from modelworks.models import cnn, serialization, transformer
from modelworks.objectives.base import Objective
from modelworks.objectives.classification import Classification
from modelworks.records import DatasetVersion, TrainedModel, ValidationReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelworks.modalities.base import Processor


@pytest.fixture
def validated(tmp_path: Path) -> Callable[..., ValidationReport]:
    """Pack contents and labels as a data set; all rows except the first two and the last are test rows."""

    def make(modality: str, contents: Sequence[Any], values: Sequence[Any], target: str = "label") -> ValidationReport:
        folder, stage = tmp_path / "data", tmp_path / "validate"
        folder.mkdir()
        stage.mkdir()
        columns = {modality: pa.array(contents), target: pa.array(values)}
        features = {modality: {"kind": modality}, target: {"kind": target}}
        dataset_format.write(
            folder, "small", {}, Examples(features=features, columns=columns, licence="", source_digest="")
        )
        splits = np.full(len(values), TEST, dtype=np.int8)
        splits[:2], splits[-1] = TRAIN, QUARANTINED
        np.save(stage / "splits.npy", splits)
        dataset = DatasetVersion(
            name="small",
            folder=folder,
            digest="0" * 32 + ".dir",
            features=dataset_format.features(dataset_format.describe(folder)),
            rows=len(values),
            source={},
            licence="",
        )
        rows = {"train": 2, "validation": 0, "test": len(values) - 3}
        return ValidationReport(
            dataset=dataset, key="v", folder=stage, checks=(), quarantined=1, warnings=(), rows=rows
        )

    return make


def save_model(
    folder: Path,
    modality: str,
    contents: Sequence[Any],
    learned: Sequence[str] | Objective,
    seen: Sequence[str],
    seed: int = 0,
) -> None:
    """Save a model with random weights and a list of training row ids."""
    torch.manual_seed(seed)
    objective = learned if isinstance(learned, Objective) else Classification({"classes": list(learned)})
    if modality == "image":
        processor: Processor = image.Processor.fit(contents, {}, {})
        architecture, settings = cnn, {"hidden": 4, "dropout": 0.0}
    else:
        processor = text.Processor.fit(contents, {"vocabulary": 80, "max_tokens": 16}, {})
        architecture, settings = transformer, {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0}
    serialization.save(
        folder,
        description={
            "kind": architecture.__name__.rpartition(".")[2],
            "modality": modality,
            "architecture": settings,
            "shape": processor.shape,
        },
        network=architecture.build(settings, processor.shape, objective.num_outputs),
        processor=processor,
        objective=objective,
        sources=serialization.sources(
            architecture, *(sys.modules[type(each).__module__] for each in (processor, objective))
        ),
        training_ids=np.sort(np.array([int(each[:16], 16) for each in seen], dtype=np.uint64)),
    )


@pytest.fixture(name="save_model")
def saving() -> Callable[..., None]:
    return save_model


@pytest.fixture
def trained(tmp_path: Path, validated: Callable[..., ValidationReport]) -> Callable[..., TrainedModel]:
    """Return the record of a saved model with the first two rows as training rows."""

    def make(
        modality: str, contents: Sequence[Any], values: Sequence[Any], objective: Objective | None = None
    ) -> TrainedModel:
        target = "label" if objective is None else next(iter(objective.targets))
        report = validated(modality, contents, values, target)
        learned = objective or report.dataset.targets["label"]["classes"]
        ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
        save_model(tmp_path / "train" / "model", modality, contents, learned, ids[:2])
        return TrainedModel(
            report=report,
            key="t",
            folder=tmp_path / "train",
            num_parameters=1,
            num_steps=1,
            seconds=1.0,
            examples_per_second=1.0,
            device="cpu",
            precision="fp32",
            threads=1,
            processes=1,
            shard=False,
        )

    return make
