"""Slices of the test rows by target or by any column, with the scores of both models.

A slice's score is the mean of the objective's row scores; for a class in classification that is its recall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.data import dataset_format
from modelworks.errors import BadInput, Corrupt
from modelworks.evaluation.gate.prediction_churn import gains
from modelworks.evaluation.statistics.paired_comparison import compare_scores
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from modelworks.evaluation.config import GateConfig
    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.inference import Predictions
    from modelworks.records import DatasetVersion

__all__ = ["FEW", "Slice", "cut", "measured", "parts", "require_columns", "target"]

FEW = 50
"""Minimum rows for an interval of a slice that the gate does not judge."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice of the test rows and the scores of both models."""

    by: str
    value: str
    rows: int
    score: float
    """The mean of the candidate's scores."""
    baseline: float | None = None
    """The mean of production's scores; None if there is no production."""
    gain: float | None = None
    """The candidate's gain over production; None likewise."""
    difference: Interval | None = None
    """The gain with its interval; None without production and for a small slice."""
    fixed: int = 0
    """Number of rows with a higher score than in production."""
    broken: int = 0
    """Number of rows with a lower score than in production."""

    def __str__(self) -> str:
        return f"{self.score:.4f} of the {self.rows:,} rows of {self.value}"


def target(predictions: Predictions) -> str:
    """Return the target that defines the default slices, e.g. `label`; empty if there is none."""
    objective = predictions.objective
    return next(iter(objective.targets)) if objective.slice_values(predictions.truth) is not None else ""


def parts(
    dataset: DatasetVersion, predictions: Predictions, baseline: Baseline | None, gate: GateConfig
) -> tuple[Slice, ...]:
    """Return the slices by target and by the gate's columns.

    Intervals are corrected for the number of slices compared (Bonferroni): over all columns that the gate judges, or
    within the target if the gate does not judge it.

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    target_name = target(predictions)
    default = (target_name,) if target_name else ()
    judged = tuple(dict.fromkeys(gate.slices.by if gate.slices else default))
    min_rows = gate.slices.min_rows if gate.slices else FEW
    by = tuple(dict.fromkeys((*default, *judged)))
    values = cut(dataset, predictions, by)
    compared = {column: int((np.unique(values[column], return_counts=True)[1] >= min_rows).sum()) for column in by}
    num_judged = sum(compared[column] for column in judged)
    return tuple(
        part
        for column in by
        for part in measured(
            column,
            values[column],
            predictions,
            baseline,
            gate,
            min_rows=min_rows,
            comparisons=num_judged if column in judged else compared[column],
        )
    )


def require_columns(dataset: DatasetVersion, by: Iterable[str]) -> None:
    """Check that a data set has the columns of the gate's slices.

    Raises:
        BadInput: the data set has no such column.
        Corrupt: the examples are damaged.
    """
    _stored(dataset, [name for name in by if name not in dataset.targets])


def cut(dataset: DatasetVersion, predictions: Predictions, by: Sequence[str]) -> dict[str, npt.NDArray[np.str_]]:
    """Return each test row's value in each column, (rows,) strings; a missing value is "(none)".

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    target_values = predictions.objective.slice_values(predictions.truth)
    values = {} if target_values is None else {next(iter(predictions.objective.targets)): target_values}
    stored = [name for name in by if name not in values]
    if stored:
        table = _stored(dataset, ["id", *stored]).take(predictions.rows)
        if tuple(table["id"].to_pylist()) != predictions.ids:
            raise Corrupt(
                f"{dataset.folder} is not the data that was tested", "run the config again", code="data.changed"
            )
        for name in stored:
            values[name] = np.array(["(none)" if each is None else str(each) for each in table[name].to_pylist()])
    return {name: values[name] for name in by}


def measured(
    by: str,
    values: npt.NDArray[np.str_],
    predictions: Predictions,
    baseline: Baseline | None,
    gate: GateConfig,
    *,
    min_rows: int,
    comparisons: int,
) -> list[Slice]:
    """Return the slices of one column, sorted by value; large ones have an interval.

    Args:
        by: the column.
        values: (rows,), each row's value in the column.
        predictions: the candidate's.
        baseline: production's version; None for none.
        gate: confidence and resamples.
        min_rows: minimum rows for a comparison.
        comparisons: number of comparisons for the Bonferroni correction.
    """
    names, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(sizes)[:-1])
    objective, confidence = predictions.objective, 1 - (1 - gate.confidence) / max(1, comparisons)
    ours = objective.row_scores(predictions.predicted, predictions.truth)
    slices = [
        Slice(by=by, value=str(name), rows=len(chosen), score=float(ours[chosen].mean()))
        for name, chosen in zip(names, members, strict=True)
    ]
    if baseline is None:
        return slices
    theirs = objective.row_scores(baseline.predicted, predictions.truth)
    gained = gains(predictions, baseline)
    return [
        replace(
            each,
            baseline=float(theirs[chosen].mean()),
            gain=float(gained[chosen].mean()),
            fixed=int((gained[chosen] > 0).sum()),
            broken=int((gained[chosen] < 0).sum()),
            difference=(
                compare_scores(
                    ours[chosen],
                    theirs[chosen],
                    objective.row_better,
                    confidence=confidence,
                    resamples=gate.resamples,
                ).difference
                if len(chosen) >= min_rows
                else None
            ),
        )
        for each, chosen in zip(slices, members, strict=True)
    ]


def _stored(dataset: DatasetVersion, names: Sequence[str]) -> pa.Table:
    table = dataset_format.read(dataset.folder, names)
    if missing := [name for name in names if name not in table.column_names]:
        known = [name for name in dataset_format.read(dataset.folder).column_names if name not in ("id", dataset.input)]
        raise BadInput(
            f"gate.slices.by: {dataset.name} has no column {missing[0]!r}",
            f"use one of: {', '.join(known)}",
            code="gate.unknown-column",
        )
    return table
