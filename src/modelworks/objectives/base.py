"""The interface of an objective, with defaults that most kinds share.

The source of its objective is copied into a saved model: files in this folder import from the project only each other,
by relative imports.
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
    """Base class of objectives; one instance belongs to one model.

    A kind such as `token_classification` is the class TokenClassification in token_classification.py, with a section in
    `config.py`.
    """

    kind: ClassVar[str]
    targets: ClassVar[Mapping[str, str]]
    """Required target columns and the kind of feature of each."""
    output: ClassVar[Literal["example", "position"]] = "example"
    """Whether a model outputs one vector per row, or one per token or frame."""
    METRICS: ClassVar[Mapping[str, Metric]]
    """All metrics by name, known without fitting; the first is the default of `gate.compare`."""
    tuned: ClassVar[bool] = False
    """Whether `tune` is implemented; if so, the validation rows are predicted once more after training."""
    answer_columns: ClassVar[Mapping[str, str]]
    """Columns of a served answer and their MLflow types: string, double, long, boolean."""
    row_metric: ClassVar[str]
    """Name of what `row_scores` measures, for reports."""
    row_better: ClassVar[Literal["max", "min"]] = "max"

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec: dict[str, Any] = dict(spec)
        """JSON values that are saved with the model: classes, means, thresholds."""

    @classmethod
    def fit(
        cls, section: Mapping[str, Any], features: Mapping[str, Any], targets: Iterable[Mapping[str, Sequence[Any]]]
    ) -> Self:
        """Create a model's objective from the training rows only.

        Args:
            section: the `objective:` section of the config, as JSON values.
            features: the target features of the data set, as JSON values by column.
            targets: the target columns of the training rows in chunks, as Python values.

        Raises:
            ValueError: the section does not fit the data.
        """
        raise NotImplementedError

    @property
    def num_outputs(self) -> int:
        """Length of the architecture's output vector."""
        raise NotImplementedError

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of this model."""
        return self.METRICS

    # Training -------------------------------------------------------------------------------------------------------

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Encode target columns as arrays of numbers, one row per example."""
        raise NotImplementedError

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str
    ) -> dict[str, torch.Tensor]:
        """Return the targets of a batch on a device; indices are int64 on the CPU."""
        return {name: array[indices.to(array.device)].to(device, non_blocking=True) for name, array in arrays.items()}

    def weight(self, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        """Return the divisor of a batch's summed loss, float32 (): the number or weight of its rows."""
        import torch

        first = next(iter(targets.values()))
        return torch.full((), float(len(first)), device=first.device)

    def loss(self, outputs: torch.Tensor, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        """Return the sum of the loss over rows, so that micro-batches and processes add up.

        Args:
            outputs: of the network, float32.
            targets: from `collate`.
            training: whether to apply label smoothing and class weights.
        """
        raise NotImplementedError

    def predict(self, outputs: torch.Tensor) -> dict[str, np.ndarray[Any, Any]]:
        """Convert outputs (float32, on any device) to the predicted columns of predictions.parquet."""
        raise NotImplementedError

    def tune(self, predicted: Columns, truth: Columns) -> None:
        """Set values of `spec` from the validation rows, such as thresholds, after training."""

    # Evaluation -----------------------------------------------------------------------------------------------------

    def statistics(self, group: str, predicted: Columns, truth: Columns) -> RowStatistics:
        """Return the row statistics that the metrics of a group are computed from."""
        raise NotImplementedError

    def evaluate(self, group: str, sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Compute the metrics of a group: sums (..., k) to values (...)."""
        raise NotImplementedError

    def rank(
        self, metric: str, predicted: Columns, truth: Columns, counts: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Compute a metric of the form `rank`: counts (resamples, rows) to values (resamples,)."""
        raise NotImplementedError

    def unseen_cost(self, metric: str, predicted: Columns, truth: Columns, confidence: float) -> float:
        """Bound how much unseen errors could worsen a metric; 0 if resampling covers them."""
        return 0.0

    def unseen_loss(
        self, metric: str, candidate: Columns, baseline: Columns, truth: Columns, confidence: float
    ) -> float:
        """Bound the same for the candidate's metric minus the baseline's on the same rows."""
        return 0.0

    def point_estimates(self, predicted: Columns, truth: Columns) -> dict[str, float]:
        """Return every metric over all rows, without intervals."""
        import numpy as np

        values: dict[str, float] = {}
        statistics: dict[str, RowStatistics] = {}
        for name, metric in self.metrics.items():
            if metric.form == "rank":
                rows = len(next(iter(truth.values())))
                values[name] = float(self.rank(name, predicted, truth, np.ones((1, rows)))[0])
                continue
            if metric.group not in statistics:
                statistics[metric.group] = self.statistics(metric.group, predicted, truth)
            group = statistics[metric.group]
            sums = group.sums(group.counts)
            if metric.form == "mean":
                values[name] = float(sums[0]) / len(group.of_row)
            else:
                values[name] = float(self.evaluate(metric.group, sums)[name])
        return values

    def row_scores(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """Return the score of each row, float64 (rows,), as named by `row_metric`."""
        raise NotImplementedError

    def wrongness(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """Return the size of each row's error, float64 (rows,), to rank mistakes; 0 if right."""
        raise NotImplementedError

    def comparable(self, other: Objective) -> str:
        """Return why another model's predictions are not comparable; empty if they are.

        The other objective may be built from a saved model's code, so only its `kind` and `spec` are read.
        """
        return "" if self.kind == other.kind else f"the kind is {self.kind} rather than {other.kind}"

    def same_answers(self, one: Columns, other: Columns) -> np.ndarray[Any, Any]:
        """Return whether two models predict the same for each row: bool (rows,)."""
        raise NotImplementedError

    def describe(self, predicted: Columns, truth: Columns, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        """Return (truth, answer, remark) of some rows for reports; a remark is e.g. a probability."""
        raise NotImplementedError

    def slice_values(self, truth: Columns) -> np.ndarray[Any, Any] | None:
        """Return each row's value for slices by target, str (rows,); None if not supported."""
        return None

    def baseline(self, training: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the trivial baseline, fitted to encoded training targets, in the form of `predict`."""
        raise NotImplementedError

    def report(self, predicted: Columns, truth: Columns, confidence: float) -> Sequence[Figure | Table]:
        """Return figures and tables for the evaluation page."""
        return ()

    # Serving --------------------------------------------------------------------------------------------------------

    def answers(self, predicted: Columns, top_k: int = 1) -> list[dict[str, Any]]:
        """Return the served answer for each row, as JSON values."""
        raise NotImplementedError

    def disagreement(self, predicted: Columns, expected: Columns) -> float:
        """Return the largest difference between two models' predictions; 1 is a large one."""
        raise NotImplementedError


def objective_class(kind: str) -> type[Objective]:
    """Return the class of a kind of objective."""
    name = "".join(part.title() for part in kind.split("_"))
    result: type[Objective] = getattr(importlib.import_module(f"{__package__}.{kind}"), name)
    return result
