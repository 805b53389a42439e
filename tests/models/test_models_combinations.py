"""Every compatible combination of model and objective trains."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

import modelworks
from modelworks.modalities.base import processor_class
from modelworks.models.config import Cnn, ModelConfig, Pretrained, Transformer
from modelworks.models.pretrained_weights import locate
from modelworks.objectives.base import objective_class
from modelworks.objectives.config import KINDS, Classification, Multilabel, ObjectiveConfig, Regression

PACKAGE = Path(modelworks.__file__).parent
CONTENTS: dict[str, list[Any]] = {
    "image": [b"P6\n7 5\n255\n" + bytes([40 + 150 * (number % 2)] * 105) for number in range(20)],
    "text": ["this is a good thing" if number % 2 else "that was bad" for number in range(20)],
}
TARGETS: dict[str, list[Any]] = {
    "label": ["yes" if number % 2 else "no" for number in range(20)],
    "labels": [["odd", "number"] if number % 2 else ["number"] for number in range(20)],
    "number": [float(number % 2) for number in range(20)],
}
FEATURES: dict[str, dict[str, Any]] = {
    "label": {"kind": "label", "classes": ["no", "yes"]},
    "labels": {"kind": "labels", "classes": ["number", "odd"]},
    "number": {"kind": "number"},
}
MODELS: list[ModelConfig] = [
    Cnn(kind="cnn", hidden=8),
    Transformer(kind="transformer", vocabulary=300, max_tokens=10, width=16, heads=2, layers=1),
    Pretrained(kind="pretrained", checkpoint="minilm", max_tokens=10),
]
OBJECTIVES: list[ObjectiveConfig] = [
    Classification(kind="classification", class_weights="balanced"),
    Regression(kind="regression"),
    Multilabel(kind="multilabel"),
]
CASES = [
    pytest.param(
        model,
        objective,
        precision,
        id=f"{model.kind}-{objective.kind}-{str(precision).removeprefix('torch.')}",
        # A processor without bf16 takes 9 s for each of these.
        marks=pytest.mark.slow if model.kind == "pretrained" and precision is torch.bfloat16 else (),
    )
    for model in MODELS
    for objective in OBJECTIVES
    for precision in (torch.float32, torch.bfloat16)
    if objective.output in model.outputs
]


def test_every_model_and_objective_is_combined() -> None:
    assert {model.kind for model in MODELS} == {
        path.stem for path in PACKAGE.glob("models/*.py") if _is_architecture(path)
    }
    assert {objective.kind for objective in OBJECTIVES} == {*KINDS}


def _is_architecture(path: Path) -> bool:
    return "\ndef build(" in path.read_text()


@pytest.mark.parametrize(("model", "objective", "precision"), CASES)
def test_a_few_steps_lower_the_loss(
    tmp_path: Path, model: ModelConfig, objective: ObjectiveConfig, precision: torch.dtype
) -> None:
    architecture, contents = importlib.import_module(f"modelworks.models.{model.kind}"), CONTENTS[model.modality]
    checkpoint = locate(model, tmp_path)
    processor = processor_class(model.modality).fit(contents, vars(model), architecture.assets(checkpoint))
    features = {name: FEATURES[name] for name in objective.targets}
    columns = {name: TARGETS[name] for name in objective.targets}
    learned = objective_class(objective.kind).fit(dataclasses.asdict(objective), features, [columns])
    configuration = architecture.configure(vars(model), checkpoint)
    torch.manual_seed(0)
    network = architecture.build(configuration, processor.shape, learned.num_outputs, learned.output)
    architecture.initialise(network, checkpoint)

    rows = torch.arange(20)
    inputs = processor.collate(processor.arrange(processor.decode(contents)), rows)
    encoded = learned.encode(columns)
    targets = learned.collate({name: torch.from_numpy(each) for name, each in encoded.items()}, rows, "cpu")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4 if checkpoint else 1e-3)
    network.train()
    losses = []
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            outputs = network(**inputs)
        loss = learned.loss(outputs.float(), targets, training=True) / learned.weight(targets, training=True)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

    predicted = learned.predict(outputs.float().detach())
    assert all(len(values) == 20 for values in predicted.values())
    assert set(learned.point_estimates(predicted, encoded)) == set(objective.metrics)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.kind)
def test_config_section_declares_the_fields_of_its_objective(objective: ObjectiveConfig) -> None:
    kind = objective_class(objective.kind)
    assert kind.kind == objective.kind
    assert dict(objective.targets) == dict(kind.targets)
    assert objective.output == kind.output
    assert list(objective.metrics.items()) == [(name, metric.better) for name, metric in kind.METRICS.items()]
