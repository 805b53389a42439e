"""Multi-label classification with binary cross-entropy and a threshold per label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import Objective
from .figures import Table
from .metrics.class_counts import ClassCounts, count_labels, macro_metric, ratio
from .metrics.rule_of_three import unseen_label_cost, unseen_label_loss, unseen_row_loss
from .row_statistics import Columns, Metric, RowStatistics

if TYPE_CHECKING:
    import torch

    from .figures import Figure

__all__ = ["Multilabel"]


class Multilabel(Objective):
    """Rows have a set of labels. `spec`: classes (sorted names), thresholds (one per class).

    Encoded targets: `labels` uint8 (rows, classes), 1 where the row has the label. Predicted columns: `predicted` uint8
    and `probabilities` float32, both (rows, classes).
    """

    kind = "multilabel"
    targets: ClassVar[Mapping[str, str]] = {"labels": "labels"}
    answer_columns: ClassVar[Mapping[str, str]] = {"labels": "string", "probabilities": "string"}
    row_metric = "F1 of the row's labels"
    tuned = True
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "micro_f1": Metric(better="max", group="counts"),
        "macro_f1": Metric(better="max", group="counts"),
        "subset_accuracy": Metric(better="max", group="subsets", form="proportion"),
        "log_loss": Metric(better="min", group="log_loss", form="mean", highest=None),
    }

    @classmethod
    def fit(
        cls, section: Mapping[str, Any], features: Mapping[str, Any], targets: Iterable[Mapping[str, Sequence[Any]]]
    ) -> Multilabel:
        """Use the data set's classes; thresholds are 0.5 until `tune`."""
        classes = list(features["labels"]["classes"])
        return cls({"classes": classes, "thresholds": [0.5] * len(classes)})

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted class names, in the order of the columns."""
        return tuple(self.spec["classes"])

    @property
    def num_outputs(self) -> int:
        return len(self.spec["classes"])

    # Training

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
        index_of = {name: index for index, name in enumerate(self.spec["classes"])}
        encoded = np.zeros((len(columns["labels"]), self.num_outputs), dtype=np.uint8)
        for row, labels in enumerate(columns["labels"]):
            encoded[row, [index_of[label] for label in labels]] = 1
        return {"labels": encoded}

    def loss(self, outputs: torch.Tensor, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        from torch.nn import functional

        wanted = targets["labels"].to(outputs.dtype)
        return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="sum") / self.num_outputs

    def predict(self, outputs: torch.Tensor) -> dict[str, np.ndarray[Any, Any]]:
        return self._with_thresholds(outputs.sigmoid().cpu().numpy())

    def tune(self, predicted: Columns, truth: Columns) -> None:
        """Set each label's threshold to the best F1 on the validation rows, 0.5 without such rows.

        Of several best thresholds the one nearest to 0.5 is used.
        """
        for index in range(self.num_outputs):
            probabilities = predicted["probabilities"][:, index].astype(np.float64)
            wanted = truth["labels"][:, index].astype(bool)
            if wanted.any():
                self.spec["thresholds"][index] = _best_threshold(probabilities, wanted)

    def _with_thresholds(self, probabilities: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        thresholds = np.asarray(self.spec["thresholds"], dtype=probabilities.dtype)
        return {"predicted": (probabilities >= thresholds).astype(np.uint8), "probabilities": probabilities}

    # Evaluation

    def statistics(self, group: str, predicted: Columns, truth: Columns) -> RowStatistics:
        wanted, answers = truth["labels"], predicted["predicted"]
        rows = np.arange(len(wanted))
        if group == "subsets":
            wrong = (wanted != answers).any(axis=1)
            return RowStatistics(values=np.array([[1.0, 1.0], [0.0, 1.0]]), of_row=wrong.astype(np.int64))
        if group == "counts":
            values = np.concatenate([wanted & answers, wanted, answers], axis=1).astype(np.float64)
            kinds, of_row = np.unique(values, axis=0, return_inverse=True)
            return RowStatistics(values=kinds, of_row=of_row.reshape(-1))
        return RowStatistics(values=_log_losses(wanted, predicted["probabilities"])[:, None], of_row=rows)

    def evaluate(self, group: str, sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        if group == "subsets":
            return {"subset_accuracy": ratio(sums[..., 0], sums[..., 1])}
        hits, actual, predicted = np.split(sums, 3, axis=-1)
        counts = ClassCounts(hits=hits, actual=actual, predicted=predicted)
        return {name: metric(counts) for name, metric in F1.items()}

    def unseen_cost(self, metric: str, predicted: Columns, truth: Columns, confidence: float) -> float:
        if metric not in F1:
            return 0.0
        counts = count_labels(truth["labels"], predicted["predicted"])
        return unseen_label_cost(F1[metric], counts, len(truth["labels"]), confidence)

    def unseen_loss(
        self, metric: str, candidate: Columns, baseline: Columns, truth: Columns, confidence: float
    ) -> float:
        wanted, ours, theirs = truth["labels"], candidate["predicted"], baseline["predicted"]
        if metric in F1:
            return unseen_label_loss(F1[metric], wanted, ours, theirs, confidence)
        if metric == "subset_accuracy":
            return unseen_row_loss((ours == wanted).all(axis=1), (theirs == wanted).all(axis=1), confidence)
        return 0.0

    def row_scores(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """Return F1 of each row's labels; 1 if true and predicted labels are both empty."""
        hits = (truth["labels"] & predicted["predicted"]).sum(axis=1).astype(np.float64)
        both = truth["labels"].sum(axis=1, dtype=np.float64) + predicted["predicted"].sum(axis=1, dtype=np.float64)
        return np.where(both > 0, ratio(2 * hits, both), 1.0)

    def wrongness(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        return 1.0 - self.row_scores(predicted, truth)

    def comparable(self, other: Objective) -> str:
        if reason := super().comparable(other):
            return reason
        differing = sorted({*self.spec["classes"]} ^ {*other.spec["classes"]})
        return f"labels differ: {', '.join(differing[:6])}" if differing else ""

    def same_answers(self, one: Columns, other: Columns) -> np.ndarray[Any, Any]:
        return np.asarray((one["predicted"] == other["predicted"]).all(axis=1))

    def describe(self, predicted: Columns, truth: Columns, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        scores = self.row_scores(predicted, truth)
        return [
            (self._listed(truth["labels"][row]), self._listed(predicted["predicted"][row]), f"F1 {scores[row]:.2f}")
            for row in rows
        ]

    def baseline(self, training: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """Predict the labels of at least half of the training rows, or the most frequent one.

        The labels' training shares are the probabilities.
        """
        shares = training["labels"].mean(axis=0, dtype=np.float64)
        answer = shares >= min(0.5, shares.max())
        return {
            "predicted": np.tile(answer.astype(np.uint8), (rows, 1)),
            "probabilities": np.tile(shares.astype(np.float32), (rows, 1)),
        }

    def report(self, predicted: Columns, truth: Columns, confidence: float) -> Sequence[Figure | Table]:
        wanted, answers = truth["labels"], predicted["predicted"]
        counts = count_labels(wanted, answers)
        per_label = [
            {
                "label": name,
                "rows": int(counts.actual[index]),
                "threshold": float(self.spec["thresholds"][index]),
                "precision": float(counts.precision[index]),
                "recall": float(counts.recall[index]),
                "f1": float(counts.f1[index]),
            }
            for index, name in enumerate(self.classes)
        ]
        return (Table(title="Per label", file="per_label", rows=per_label, bar="f1"),)

    # Serving

    def answers(self, predicted: Columns, top_k: int = 1) -> list[dict[str, Any]]:
        """Return `labels` of each row and `probabilities` of all classes."""
        return [
            {
                "labels": [name for name, given in zip(self.classes, row, strict=True) if given],
                "probabilities": {name: float(each) for name, each in zip(self.classes, probabilities, strict=True)},
            }
            for row, probabilities in zip(predicted["predicted"], predicted["probabilities"], strict=True)
        ]

    def disagreement(self, predicted: Columns, expected: Columns) -> float:
        """Return the largest difference of a probability."""
        return float(np.abs(predicted["probabilities"] - expected["probabilities"]).max())

    def _listed(self, row: np.ndarray[Any, Any]) -> str:
        return ", ".join(name for name, given in zip(self.classes, row, strict=True) if given) or "none"


def _micro_f1(counts: ClassCounts) -> np.ndarray[Any, Any]:
    return ratio(2 * counts.hits.sum(-1), (counts.actual + counts.predicted).sum(-1))


def _macro_f1(counts: ClassCounts) -> np.ndarray[Any, Any]:
    return macro_metric("macro_f1", counts)


F1: Mapping[str, Callable[[ClassCounts], np.ndarray[Any, Any]]] = {"micro_f1": _micro_f1, "macro_f1": _macro_f1}
"""The metrics that are functions of the counts of each label."""


def _best_threshold(probabilities: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """Return the midpoint of two neighbouring probabilities that gives the best F1 as threshold."""
    order = np.argsort(-probabilities, kind="stable")
    given = np.arange(1, len(order) + 1)
    f1 = 2 * np.cumsum(wanted[order]) / (given + wanted.sum())
    ordered = probabilities[order]
    following = np.append(ordered[1:], 0.0)
    f1[ordered == following] = -1.0  # no threshold separates equal probabilities
    middles = (ordered + following) / 2
    best = np.flatnonzero(f1 == f1.max())
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])


def _log_losses(wanted: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the mean binary cross-entropy of each row (rows,), clipped at the dtype's epsilon."""
    smallest = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, smallest, 1 - smallest).astype(np.float64)
    losses: np.ndarray[Any, Any] = -np.where(wanted > 0, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
    return losses
