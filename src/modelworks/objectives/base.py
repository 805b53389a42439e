"""The interface of an objective, with the defaults that most kinds share.

A model's package carries the source of its objective: files in this folder import nothing else of the project, and
each other by relative imports alone.

Rows travel as columns: a mapping of names to arrays whose first axis is the row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import pandas as pd
    import torch

    from .figures import Figure, Table

__all__ = [
    "Columns",
    "DataCheck",
    "Metric",
    "Objective",
    "RowStatistics",
    "TargetChecks",
    "checks_module",
    "objective_class",
]

Columns = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure that `gate.minimums`, `gate.compare` and `train.monitor` may name."""

    better: Literal["max", "min"]
    group: str
    """Metrics of one group are functions of the same row statistics, and are resampled together."""
    form: Literal["proportion", "mean", "sums", "rank"] = "sums"
    """How its interval is found: `proportion` is a share of rows (statistics: 1 for a hit, and 1), `mean` the mean of
    one value per row, `sums` any function of sums over rows, `rank` a function of the order of all rows."""
    lowest: float | None = 0.0
    """Of its range; None for unbounded."""
    highest: float | None = 1.0


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """Additive statistics of rows: every metric of a group is a function of their sum.

    Rows with equal statistics are one kind of row, so that a bootstrap draws kinds instead of rows.
    """

    values: Any
    """float64 (kinds, k), a NumPy array or a SciPy sparse array."""
    of_row: np.ndarray[Any, Any]
    """int64 (rows,): the kind of each row. A row of `values` without rows is allowed."""

    @property
    def counts(self) -> np.ndarray[Any, Any]:
        """int64 (kinds,): rows of each kind."""
        import numpy as np

        return np.bincount(self.of_row, minlength=self.values.shape[0])

    def sums(self, counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sum the statistics of resamples: counts (..., kinds) to sums (..., k)."""
        import numpy as np

        return np.asarray((self.values.T @ np.asarray(counts, dtype=np.float64).T).T)


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """One expectation over the table of facts, and how to report it."""

    name: str
    expectation: str
    """Great Expectations' name for it, in snake case."""
    arguments: Mapping[str, Any]
    required: str
    """What it requires, in words."""
    observe: Callable[[pd.DataFrame], str] | None = None
    """Says what the facts hold; without it Great Expectations' own result is reported."""
    hint: str = "correct the data, or change checks in the config"


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


class TargetChecks(Protocol):
    """What a module such as `classification_checks.py` has: what validation asks of the targets.

    It stands in a file of its own, which no model's package carries: a change there trains nothing again.
    """

    LEAKAGE: str
    """The target, one class per row, that no single feature may give away; empty where that is not asked."""

    def target_facts(self, usable: pd.DataFrame) -> pd.DataFrame:
        """Further columns of the table of facts, one row per usable row, made from the targets."""
        ...

    def checks(self, targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
        """What the targets of every data set must satisfy; `section` is the config's `checks:`."""
        ...

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """What is worth knowing about the targets and stops nothing, one sentence each."""
        ...


def checks_module(kind: str) -> TargetChecks:
    """What validation asks of the targets of a kind of objective."""
    found: Any = importlib.import_module(f"{__package__}.{kind}_checks")
    return cast("TargetChecks", found)
