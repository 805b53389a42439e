"""The interface of an objective, with the defaults that most kinds share.

A model's package carries the source of its objective: files in this folder import nothing else of the project, and
each other by relative imports alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import torch

    from .figures import Figure, Table
    from .row_statistics import Columns, Metric, RowStatistics

__all__ = ["Objective", "objective_class"]


class Objective:
    """What is learned; one instance belongs to one model.

    A kind such as `token_classification` is the class TokenClassification in token_classification.py, and has a
    section in `config.py`.
    """

    kind: ClassVar[str]
    targets: ClassVar[Mapping[str, str]]
    """Target columns that the data must have, and the kind of feature of each."""
    output: ClassVar[Literal["example", "position"]] = "example"
    """Whether a model gives one vector per row, or one per token or frame."""
    METRICS: ClassVar[Mapping[str, Metric]]
    """All metrics by name, known without fitting; the first is the default of `gate.compare`."""
    tuned: ClassVar[bool] = False
    """Whether `tune` sets anything: the validation rows are then predicted once more, after training."""
    answer_columns: ClassVar[Mapping[str, str]]
    """Columns of a served answer and their MLflow types: string, double, long, boolean."""
    row_metric: ClassVar[str]
    """What `row_scores` measures, in words for reports."""
    row_better: ClassVar[Literal["max", "min"]] = "max"

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec: dict[str, Any] = dict(spec)
        """JSON that is kept with the model: classes, means, thresholds."""

    @classmethod
    def fit(
        cls, section: Mapping[str, Any], features: Mapping[str, Any], targets: Iterable[Mapping[str, Sequence[Any]]]
    ) -> Self:
        """Make the objective of one model from training rows alone.

        Args:
            section: the `objective:` section of the config, as JSON values.
            features: the target features of the data set, as JSON values by column.
            targets: the target columns of the training rows, some rows at a time, as Python values.

        Raises:
            ValueError: the section does not fit the data.
        """
        raise NotImplementedError

    @property
    def num_outputs(self) -> int:
        """The length of the vector that the architecture must give."""
        raise NotImplementedError

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of this model."""
        return self.METRICS

    # Training -------------------------------------------------------------------------------------------------------

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Target columns of some rows to arrays of numbers, one row per example."""
        raise NotImplementedError

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str
    ) -> dict[str, torch.Tensor]:
        """The targets of a batch on a device; indices are int64 on the CPU."""
        return {name: array[indices.to(array.device)].to(device, non_blocking=True) for name, array in arrays.items()}

    def weight(self, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        """What the loss of a whole batch is divided by: float32 (), the number of rows unless rows are weighted."""
        import torch

        first = next(iter(targets.values()))
        return torch.full((), float(len(first)), device=first.device)

    def loss(self, outputs: torch.Tensor, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        """The SUM over rows, so that parts of a batch and processes add up.

        Args:
            outputs: float32, what the network gave.
            targets: of `collate`.
            training: whether label smoothing and weights apply; validation measures without them.
        """
        raise NotImplementedError

    def predict(self, outputs: torch.Tensor) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs (float32, on any device) to the predicted columns that predictions.parquet keeps."""
        raise NotImplementedError

    def tune(self, predicted: Columns, truth: Columns) -> None:
        """Set what only validation rows can tell, such as thresholds, in `spec`. Called once, after training."""

    # Evaluation -----------------------------------------------------------------------------------------------------

    def statistics(self, group: str, predicted: Columns, truth: Columns) -> RowStatistics:
        """The statistics that the metrics of a group are functions of."""
        raise NotImplementedError

    def evaluate(self, group: str, sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """The metrics of a group: sums (..., k) to values (...)."""
        raise NotImplementedError

    def rank(
        self, metric: str, predicted: Columns, truth: Columns, counts: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """A metric of the form `rank` for resamples: counts (resamples, rows) to values (resamples,)."""
        raise NotImplementedError

    def unseen_cost(self, metric: str, predicted: Columns, truth: Columns, confidence: float) -> float:
        """How much worse a metric may be by mistakes that the rows did not happen to show; 0 where resampling knows."""
        return 0.0

    def unseen_loss(
        self, metric: str, candidate: Columns, baseline: Columns, truth: Columns, confidence: float
    ) -> float:
        """The same for the candidate's metric minus the baseline's on the same rows."""
        return 0.0

    def point_estimates(self, predicted: Columns, truth: Columns) -> dict[str, float]:
        """Every metric over all rows, without intervals."""
        import numpy as np

        found: dict[str, float] = {}
        statistics: dict[str, RowStatistics] = {}
        for name, metric in self.metrics.items():
            if metric.form == "rank":
                rows = len(next(iter(truth.values())))
                found[name] = float(self.rank(name, predicted, truth, np.ones((1, rows)))[0])
                continue
            if metric.group not in statistics:
                statistics[metric.group] = self.statistics(metric.group, predicted, truth)
            of_group = statistics[metric.group]
            sums = of_group.sums(of_group.counts)
            if metric.form == "mean":
                found[name] = float(sums[0]) / len(of_group.of_row)
            else:
                found[name] = float(self.evaluate(metric.group, sums)[name])
        return found

    def row_scores(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """float64 (rows,): what slices average and what makes a row better or worse, see `row_metric`."""
        raise NotImplementedError

    def wrongness(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """float64 (rows,): how wrong each row is, for the list of worst mistakes; 0 for right."""
        raise NotImplementedError

    def comparable(self, other: Objective) -> str:
        """Why another model's answers cannot be compared with this one's; empty where they can.

        The other may come from the code of its own package: its `kind` and its `spec` alone are read.
        """
        return "" if self.kind == other.kind else f"the kind is {self.kind} rather than {other.kind}"

    def same_answers(self, one: Columns, other: Columns) -> np.ndarray[Any, Any]:
        """bool (rows,): whether two models answer a row alike."""
        raise NotImplementedError

    def in_words(self, predicted: Columns, truth: Columns, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        """(truth, answer, remark) of some rows, for reports; the remark says e.g. how sure the model is."""
        raise NotImplementedError

    def slice_values(self, truth: Columns) -> np.ndarray[Any, Any] | None:
        """str (rows,): what `gate.slices.by: [TARGET]` cuts rows by; None where a target cuts none."""
        return None

    def baseline(self, training: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """The trivial answer learned from encoded training targets, for that many rows, as `predict` gives it."""
        raise NotImplementedError

    def report(self, predicted: Columns, truth: Columns, confidence: float) -> Sequence[Figure | Table]:
        """What the evaluation's page shows beside the metrics, as data."""
        return ()

    # Serving --------------------------------------------------------------------------------------------------------

    def answers(self, predicted: Columns, top_k: int = 1) -> list[dict[str, Any]]:
        """What serving returns for each row, as JSON values."""
        raise NotImplementedError

    def disagreement(self, predicted: Columns, expected: Columns) -> float:
        """The largest difference between two models' answers to the same rows, on a scale where 1 is gross."""
        raise NotImplementedError


def objective_class(kind: str) -> type[Objective]:
    """The class of a kind of objective."""
    name = "".join(part.title() for part in kind.split("_"))
    found: type[Objective] = getattr(importlib.import_module(f"{__package__}.{kind}"), name)
    return found
