"""Single-label classification with cross-entropy, and metrics from counts per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import Objective
from .figures import Matrix, Table
from .metrics.calibration import reliability
from .metrics.class_counts import count, macro_metric
from .metrics.class_metrics import MACRO, METRICS, OF_POSITIVE, evaluate, rank, statistics
from .metrics.rule_of_three import unseen_cost, unseen_loss, unseen_row_loss
from .row_statistics import Columns, Metric, RowStatistics

if TYPE_CHECKING:
    import torch

    from .figures import Figure

__all__ = ["Classification"]


class Classification(Objective):
    """Rows have one label.

    `spec`: classes (sorted names), label_smoothing, class_weights if balanced, positive if configured.

    Encoded targets: `label` int64 (rows,). Predicted columns: `predicted` int16 (rows,), `probabilities` float32
    (rows, classes).
    """

    kind = "classification"
    targets: ClassVar[Mapping[str, str]] = {"label": "label"}
    answer_columns: ClassVar[Mapping[str, str]] = {"label": "string", "probability": "double"}
    row_metric = "share of right answers"
    METRICS: ClassVar[Mapping[str, Metric]] = METRICS

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(spec)
        self._weights: dict[torch.device, torch.Tensor] = {}

    @classmethod
    def fit(
        cls,
        section: Mapping[str, Any],
        features: Mapping[str, Any],
        targets: Iterable[Mapping[str, Sequence[Any]]],
    ) -> Classification:
        """Use the data set's classes; compute class weights from the training rows if configured."""
        spec: dict[str, Any] = {
            "classes": list(features["label"]["classes"]),
            "label_smoothing": section["label_smoothing"],
        }
        if positive := section.get("positive"):
            if positive not in spec["classes"]:
                raise ValueError(f"objective.positive: {positive!r} is not a class: {', '.join(spec['classes'])}")
            spec["positive"] = positive
        objective = cls(spec)
        if section["class_weights"] == "balanced":
            counts = np.zeros(objective.num_outputs, dtype=np.int64)
            for rows in targets:
                counts += np.bincount(objective.encode(rows)["label"], minlength=objective.num_outputs)
            present = counts > 0
            # Inverse to the number of rows, with mean 1 over the rows; 0 for a class without rows.
            weights = np.zeros(objective.num_outputs)
            weights[present] = counts.sum() / (present.sum() * counts[present])
            objective.spec["class_weights"] = weights.astype(np.float32).tolist()
        return objective

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted class names; their positions are the label indices."""
        return tuple(self.spec["classes"])

    @property
    def num_outputs(self) -> int:
        return len(self.spec["classes"])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """All metrics, with those of the positive class if configured."""
        return {**METRICS, **(OF_POSITIVE if self._positive is not None else {})}

    @property
    def _positive(self) -> int | None:
        """Index of the positive class."""
        name = self.spec.get("positive", "")
        return self.spec["classes"].index(name) if name else None

    # Training

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
        index_of = {name: index for index, name in enumerate(self.spec["classes"])}
        return {"label": np.array([index_of[label] for label in columns["label"]], dtype=np.int64)}

    def weight(self, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        weights = self._class_weights(targets["label"].device) if training else None
        return super().weight(targets, training=training) if weights is None else weights[targets["label"]].sum()

    def loss(self, outputs: torch.Tensor, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        from torch.nn import functional

        return functional.cross_entropy(
            outputs,
            targets["label"],
            self._class_weights(outputs.device) if training else None,
            reduction="sum",
            label_smoothing=self.spec.get("label_smoothing", 0.0) if training else 0.0,
        )

    def predict(self, outputs: torch.Tensor) -> dict[str, np.ndarray[Any, Any]]:
        probabilities = outputs.softmax(-1).cpu().numpy()
        return {"predicted": probabilities.argmax(axis=1).astype(np.int16), "probabilities": probabilities}

    def _class_weights(self, device: torch.device) -> torch.Tensor | None:
        import torch

        weights = self.spec.get("class_weights")
        if weights is None:
            return None
        if device not in self._weights:  # copying to a GPU synchronises
            self._weights[device] = torch.tensor(weights, dtype=torch.float32, device=device)
        return self._weights[device]

    # Evaluation

    def statistics(self, group: str, predicted: Columns, truth: Columns) -> RowStatistics:
        return statistics(group, truth["label"], predicted["predicted"], predicted["probabilities"])

    def evaluate(self, group: str, sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return evaluate(group, sums, self._positive)

    def rank(
        self, metric: str, predicted: Columns, truth: Columns, counts: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        return rank(metric, truth["label"], predicted["probabilities"], counts, self._positive)

    def unseen_cost(self, metric: str, predicted: Columns, truth: Columns, confidence: float) -> float:
        if metric not in MACRO:
            return 0.0
        counts = count(truth["label"], predicted["predicted"], self.num_outputs)
        return unseen_cost(lambda each: macro_metric(metric, each), counts, confidence)

    def unseen_loss(
        self, metric: str, candidate: Columns, baseline: Columns, truth: Columns, confidence: float
    ) -> float:
        labels, ours, theirs = truth["label"], candidate["predicted"], baseline["predicted"]
        if metric == "accuracy":
            return unseen_row_loss(ours == labels, theirs == labels, confidence)
        if metric not in MACRO:
            return 0.0
        return unseen_loss(lambda each: macro_metric(metric, each), labels, ours, theirs, self.num_outputs, confidence)

    def row_scores(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        return np.asarray(predicted["predicted"] == truth["label"], dtype=np.float64)

    def wrongness(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """Return the probability of a wrong answer; 0 if the answer is right."""
        sure = predicted["probabilities"].max(axis=1).astype(np.float64)
        return np.where(predicted["predicted"] == truth["label"], 0.0, sure)

    def comparable(self, other: Objective) -> str:
        if reason := super().comparable(other):
            return reason
        ours, theirs = self.spec["classes"], other.spec["classes"]
        differing = {
            "new": [name for name in ours if name not in theirs],
            "gone": [name for name in theirs if name not in ours],
        }
        return "; ".join(
            f"{len(names)} {'class is' if len(names) == 1 else 'classes are'} {word}: "
            f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
            for word, names in differing.items()
            if names
        )

    def same_answers(self, one: Columns, other: Columns) -> np.ndarray[Any, Any]:
        return np.asarray(one["predicted"] == other["predicted"])

    def describe(self, predicted: Columns, truth: Columns, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        return [
            (
                self.classes[truth["label"][row]],
                self.classes[predicted["predicted"][row]],
                f"{predicted['probabilities'][row].max():.1%}",
            )
            for row in rows
        ]

    def slice_values(self, truth: Columns) -> np.ndarray[Any, Any]:
        return np.array(self.classes)[truth["label"]]

    def baseline(self, training: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """Predict the most frequent class, with the classes' training shares as probabilities."""
        shares = np.bincount(training["label"], minlength=self.num_outputs) / max(1, len(training["label"]))
        return {
            "predicted": np.full(rows, shares.argmax(), dtype=np.int16),
            "probabilities": np.tile(shares.astype(np.float32), (rows, 1)),
        }

    def report(self, predicted: Columns, truth: Columns, confidence: float) -> Sequence[Figure | Table]:
        labels, answers = truth["label"], predicted["predicted"]
        counts = count(labels, answers, self.num_outputs)
        per_class = [
            {"class": name, "rows": int(rows), "precision": float(precision), "recall": float(recall), "f1": float(f1)}
            for name, rows, precision, recall, f1 in zip(
                self.classes, counts.actual, counts.precision, counts.recall, counts.f1, strict=True
            )
        ]
        cells = np.bincount(labels.astype(np.int64) * self.num_outputs + answers, minlength=self.num_outputs**2)
        sure = predicted["probabilities"].max(axis=1).astype(np.float64)
        return (
            Table(title="Per class", file="per_class", rows=per_class, bar="f1"),
            Matrix(
                title="Confusion matrix",
                file="confusion_matrix",
                counts=cells.reshape(self.num_outputs, self.num_outputs),
                names=self.classes,
            ),
            reliability(sure, answers == labels),
        )

    # Serving

    def answers(self, predicted: Columns, top_k: int = 1) -> list[dict[str, Any]]:
        """Return `label`, `probability` and, with top_k > 1, `probabilities` of the best k classes."""
        probabilities = predicted["probabilities"]
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        answers = []
        for row, best in zip(probabilities, order, strict=True):
            answer: dict[str, Any] = {"label": self.classes[best[0]], "probability": float(row[best[0]])}
            if top_k > 1:
                answer["probabilities"] = {self.classes[each]: float(row[each]) for each in best}
            answers.append(answer)
        return answers

    def disagreement(self, predicted: Columns, expected: Columns) -> float:
        """Return the largest difference of a probability."""
        return float(np.abs(predicted["probabilities"] - expected["probabilities"]).max())
