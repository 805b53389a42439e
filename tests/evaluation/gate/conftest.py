"""A candidate version with given predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.gate.candidates import CLASSES, CONFIG, IDS, LABELS, OBJECTIVE, ROWS
from samples.answers import predictions
from samples.datasets import labelled

from modelworks.evaluation import inference
from modelworks.evaluation.near_duplicates import search
from modelworks.evaluation.statistics.intervals import intervals
from modelworks.records import DatasetVersion, Evaluation, ModelVersion, TrainedModel, ValidationReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[..., ModelVersion]:
    def make(predicted: np.ndarray, learned_from: tuple[str, ...] = ()) -> ModelVersion:
        dataset = DatasetVersion(
            name="pets",
            folder=tmp_path,
            digest="d",
            features=labelled("image", CLASSES),
            rows=ROWS,
            source={},
            licence="",
        )
        report = ValidationReport(
            dataset=dataset, key="v", folder=tmp_path, checks=(), quarantined=0, warnings=(), rows={}
        )
        trained = TrainedModel(
            report=report, key="t", folder=tmp_path, num_parameters=1, num_steps=1, seconds=1.0,
            examples_per_second=1.0, device="cpu", precision="fp32", threads=1, processes=1, shard=False,
        )  # fmt: skip
        trained.model_folder.mkdir()
        learned = np.array([int(each[:16], 16) for each in learned_from], dtype=np.uint64)
        np.save(trained.model_folder / "training_ids.npy", np.sort(learned))
        found = predictions(LABELS, predicted, OBJECTIVE, ids=IDS)
        inference.write(found, tmp_path)
        trivial = OBJECTIVE.baseline(found.truth, ROWS)
        inference.write(replace(found, predicted=trivial), tmp_path, inference.BASELINE)
        nothing = search.NearDuplicates(tested=ROWS, rows=0, examples=(), metrics={}, without={})
        search.write(nothing, tmp_path)
        evaluation = Evaluation(
            trained=trained,
            key="e",
            folder=tmp_path,
            rows=ROWS,
            metrics=intervals(OBJECTIVE, found.predicted, found.truth, CONFIG),
            baseline=OBJECTIVE.point_estimates(trivial, found.truth),
        )
        return ModelVersion(
            evaluation=evaluation, key="p", name="pets", version=4, run_id="r", experiment_id="1", digest="d"
        )

    return make
