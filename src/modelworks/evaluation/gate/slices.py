"""Parts of the test rows, by target or by any column that the data set keeps, and how both models do there.

A slice's figure is the mean of the objective's score of a row; for a class in classification that is its recall.
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

__all__ = ["FEW", "Slice", "cut", "demand_columns", "measured", "parts", "target"]

FEW = 50
"""Rows below which a slice that no gate judges has no interval."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Some of the test rows, and how both models do there."""

    by: str
    value: str
    rows: int
    score: float
    """The mean of the candidate's scores."""
    opponent: float | None = None
    """The opponent's; None without one."""
    gain: float | None = None
    """How much better the candidate is; None likewise."""
    difference: Interval | None = None
    """The same with its interval; None without an opponent, and for a slice of few rows."""
    fixed: int = 0
    """Rows that the candidate answers better."""
    broken: int = 0
    """Rows that the candidate answers worse."""

    def __str__(self) -> str:
        return f"{self.score:.4f} of the {self.rows:,} rows of {self.value}"


def target(predictions: Predictions) -> str:
    """The target that always cuts the rows, e.g. `label`; empty where the objective's targets cut none."""
    objective = predictions.objective
    return next(iter(objective.targets)) if objective.slice_values(predictions.truth) is not None else ""


def parts(
    dataset: DatasetVersion, predictions: Predictions, opponent: Baseline | None, gate: GateConfig
) -> tuple[Slice, ...]:
    """By target always, for people to see, and by what the gate names.

    An interval's confidence is raised for the number of slices compared, so that all of them together are as sure as
    one alone: all that the gate judges, whichever column cuts them; of a target that it does not judge, its own.

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    shown = target(predictions)
    default = (shown,) if shown else ()
    judged = tuple(dict.fromkeys(gate.slices.by if gate.slices else default))
    least = gate.slices.min_rows if gate.slices else FEW
    by = tuple(dict.fromkeys((*default, *judged)))
    values = cut(dataset, predictions, by)
    compared = {column: int((np.unique(values[column], return_counts=True)[1] >= least).sum()) for column in by}
    together = sum(compared[column] for column in judged)
    return tuple(
        part
        for column in by
        for part in measured(
            column,
            values[column],
            predictions,
            opponent,
            gate,
            min_rows=least,
            comparisons=together if column in judged else compared[column],
        )
    )


def demand_columns(dataset: DatasetVersion, by: Iterable[str]) -> None:
    """Look whether a data set has what its rows are to be cut by.

    Raises:
        BadInput: the data set has no such column.
        Corrupt: the examples are damaged.
    """
    _stored(dataset, [name for name in by if name not in dataset.targets])


def cut(dataset: DatasetVersion, predictions: Predictions, by: Sequence[str]) -> dict[str, npt.NDArray[np.str_]]:
    """What each test row has in each column: (rows,) strings; a missing value is "(none)".

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    of_target = predictions.objective.slice_values(predictions.truth)
    values = {} if of_target is None else {next(iter(predictions.objective.targets)): of_target}
    stored = [name for name in by if name not in values]
    if stored:
        table = _stored(dataset, ["id", *stored]).take(predictions.rows)
        if tuple(table["id"].to_pylist()) != predictions.ids:
            raise Corrupt(f"{dataset.folder} is not the data that was tested", "run again: it is read anew")
        for name in stored:
            values[name] = np.array(["(none)" if each is None else str(each) for each in table[name].to_pylist()])
    return {name: values[name] for name in by}


def measured(
    by: str,
    values: npt.NDArray[np.str_],
    predictions: Predictions,
    opponent: Baseline | None,
    gate: GateConfig,
    *,
    min_rows: int,
    comparisons: int,
) -> list[Slice]:
    """Each slice of one column, in the order of its names; only those of `min_rows` have an interval.

    Args:
        by: the column.
        values: (rows,), what each row has there.
        predictions: the candidate's.
        opponent: the other model; None without one.
        gate: confidence and resamples.
        min_rows: below which a slice is not compared.
        comparisons: for how many of them the confidence is raised.
    """
    names, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(sizes)[:-1])
    objective, confidence = predictions.objective, 1 - (1 - gate.confidence) / max(1, comparisons)
    ours = objective.row_scores(predictions.predicted, predictions.truth)
    alone = [
        Slice(by=by, value=str(name), rows=len(chosen), score=float(ours[chosen].mean()))
        for name, chosen in zip(names, members, strict=True)
    ]
    if opponent is None:
        return alone
    theirs = objective.row_scores(opponent.predicted, predictions.truth)
    gained = gains(predictions, opponent)
    return [
        replace(
            each,
            opponent=float(theirs[chosen].mean()),
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
        for each, chosen in zip(alone, members, strict=True)
    ]


def _stored(dataset: DatasetVersion, names: Sequence[str]) -> pa.Table:
    table = dataset_format.read(dataset.folder, names)
    if missing := [name for name in names if name not in table.column_names]:
        known = [name for name in dataset_format.read(dataset.folder).column_names if name not in ("id", dataset.input)]
        raise BadInput(f"gate.slices.by: {dataset.name} has no column {missing[0]!r}", f"it has: {', '.join(known)}")
    return table
