"""Parts of the test rows, by class or by any column that the data set keeps, and how both models do there.

A slice's figure is the share of its rows that are answered right; for a class that is its recall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.data import dataset_format
from modelworks.errors import BadInput, Corrupt
from modelworks.evaluation.statistics.paired_comparison import compare
from modelworks.records import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from modelworks.evaluation.config import GateConfig
    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.inference import Predictions
    from modelworks.records import DatasetVersion

__all__ = ["FEW", "LABEL", "Slice", "cut", "demand_columns", "measured", "parts"]

LABEL = "label"
FEW = 50
"""Rows below which a slice that no gate judges has no interval."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Some of the test rows, and how both models do there."""

    by: str
    value: str
    rows: int
    accuracy: float
    """The candidate's."""
    opponent: float | None = None
    """The opponent's; None without one."""
    difference: Interval | None = None
    """Candidate minus opponent; None likewise."""
    fixed: int = 0
    broken: int = 0

    def __str__(self) -> str:
        return f"{self.accuracy:.4f} of the {self.rows:,} rows of {self.value}"


def parts(
    dataset: DatasetVersion, predictions: Predictions, opponent: Baseline | None, gate: GateConfig
) -> tuple[Slice, ...]:
    """By class always, for people to see, and by what the gate names.

    An interval's confidence is raised for the number of slices compared, so that all of them together are as sure as
    one alone: all that the gate judges, whichever column cuts them; of classes that it does not judge, these.

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    judged = dict.fromkeys(gate.slices.by if gate.slices else [LABEL])
    least = gate.slices.min_rows if gate.slices else FEW
    by = tuple({LABEL: None, **judged})
    values = cut(dataset, predictions, by)
    compared = {column: int((np.unique(values[column], return_counts=True)[1] >= least).sum()) for column in by}
    together = sum(compared[column] for column in judged)
    theirs = opponent.predicted if opponent else None
    return tuple(
        part
        for column in by
        for part in measured(
            column,
            values[column],
            predictions,
            theirs,
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
    _stored(dataset, [name for name in by if name != LABEL])


def cut(dataset: DatasetVersion, predictions: Predictions, by: Sequence[str]) -> dict[str, npt.NDArray[np.str_]]:
    """What each test row has in each column: (rows,) strings; a missing value is "(none)".

    Raises:
        BadInput: the data set has no such column.
        Corrupt: its rows are not those that were tested.
    """
    values = {}
    stored = [name for name in by if name != LABEL]
    if stored:
        table = _stored(dataset, ["id", *stored]).take(predictions.rows)
        if tuple(table["id"].to_pylist()) != predictions.ids:
            raise Corrupt(f"{dataset.folder} is not the data that was tested", "run again: it is read anew")
        values = {
            name: np.array(["(none)" if each is None else str(each) for each in table[name].to_pylist()])
            for name in stored
        }
    return {**values, **({LABEL: np.array(dataset.classes)[predictions.labels]} if LABEL in by else {})}


def measured(
    by: str,
    values: npt.NDArray[np.str_],
    predictions: Predictions,
    opponent: npt.NDArray[np.int16] | None,
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
        opponent: (rows,), the other model's; None without one.
        gate: confidence and resamples.
        min_rows: below which a slice is not compared.
        comparisons: for how many of them the confidence is raised.
    """
    names, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(sizes)[:-1])
    right = predictions.predicted == predictions.labels
    confidence = 1 - (1 - gate.confidence) / max(1, comparisons)
    found = []
    for name, chosen in zip(names, members, strict=True):
        each = Slice(by=by, value=str(name), rows=len(chosen), accuracy=float(right[chosen].mean()))
        if opponent is not None:
            theirs = opponent[chosen] == predictions.labels[chosen]
            each = replace(
                each,
                opponent=float(theirs.mean()),
                fixed=int((right[chosen] & ~theirs).sum()),
                broken=int((~right[chosen] & theirs).sum()),
            )
            if len(chosen) >= min_rows:
                compared = compare(
                    "accuracy",
                    predictions.labels[chosen],
                    predictions.predicted[chosen],
                    opponent[chosen],
                    2,
                    confidence=confidence,
                    resamples=gate.resamples,
                )
                each = replace(each, difference=compared.difference)
        found.append(each)
    return found


def _stored(dataset: DatasetVersion, names: Sequence[str]) -> pa.Table:
    table = dataset_format.read(dataset.folder, names)
    if missing := [name for name in names if name not in table.column_names]:
        known = [
            name for name in dataset_format.read(dataset.folder).column_names if name not in ("id", dataset.modality)
        ]
        raise BadInput(f"gate.slices.by: {dataset.name} has no column {missing[0]!r}", f"it has: {', '.join(known)}")
    return table
