"""Test rows that nearly repeat a training row: the same picture written anew, the same text with a word changed.

Exact repetitions are on one side by construction. A near one makes a test row easier than it looks, so it is reported,
with the metrics as they are without these rows. It is not refused: what is nearly the same is for people to judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.data import dataset_format
from modelworks.data.splits import TEST, TRAIN
from modelworks.errors import Corrupt
from modelworks.evaluation.near_duplicates.lsh import neighbours
from modelworks.files.atomic_files import write_json
from modelworks.modalities.base import Fingerprints, fingerprints_class

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelworks.evaluation.inference import Predictions
    from modelworks.records import DatasetVersion, ValidationReport

__all__ = ["NearDuplicates", "Pair", "alike", "find", "read", "remark", "write"]

FILE = "near_duplicates.json"
EXAMPLES = 12
PARTNERS = 3
"""Training rows that are compared with a test row, the nearest: many may be alike."""

Indices = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test row and the training row that is most like it, by id."""

    test: str
    train: str
    likeness: float
    """Of images the correlation of small versions, of texts the share of their sequences in common."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What was found between the test rows and the training rows."""

    tested: int
    rows: int
    """Test rows that nearly repeat a training row."""
    examples: tuple[Pair, ...]
    """Some of them, the most alike first."""
    metrics: Mapping[str, float]
    """Each metric over all test rows."""
    without: Mapping[str, float]
    """Each metric over the other test rows; empty when there are none."""


def find(report: ValidationReport, predictions: Predictions) -> NearDuplicates:
    """Compare the test rows of a validated data set with its training rows.

    Raises:
        Corrupt: the data are damaged.
    """
    splits = np.load(report.folder / "splits.npy", allow_pickle=False)
    held = np.flatnonzero(splits == TEST)
    learned = np.flatnonzero(splits == TRAIN)
    both = np.union1d(held, learned)
    found = fingerprints_class(report.dataset.modality).of(_contents(report.dataset, both))
    left, right, likeness = alike(*(found.take(np.searchsorted(both, rows)) for rows in (held, learned)))
    # The most alike partner of each test row comes first.
    order = np.lexsort((right, -likeness, left))
    left, right, likeness = left[order], right[order], likeness[order]
    rows, first = np.unique(left, return_index=True)
    best = first[np.argsort(-likeness[first], kind="stable")][:EXAMPLES]
    ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
    others = np.setdiff1d(np.arange(len(held)), rows)
    return NearDuplicates(
        tested=len(held),
        rows=len(rows),
        examples=tuple(
            Pair(
                test=ids[held[left[place]]],
                train=ids[learned[right[place]]],
                likeness=round(float(likeness[place]), 4),
            )
            for place in best
        ),
        metrics=_metrics(predictions),
        without=_metrics(predictions.take(others)) if len(rows) and len(others) else {},
    )


def remark(found: NearDuplicates, metric: str) -> str:
    """What a verdict says of it; empty when there is nothing to say."""
    if not found.rows:
        return ""
    said = f"{found.rows:,} of {found.tested:,} test rows nearly repeat training rows"
    if not found.without:
        return said
    return f"{said}; without them {metric} is {found.without[metric]:.4f} rather than {found.metrics[metric]:.4f}"


def write(found: NearDuplicates, folder: Path) -> None:
    """Keep it as near_duplicates.json."""
    write_json(folder / FILE, asdict(found))


def read(folder: Path) -> NearDuplicates:
    """What `write` kept.

    Raises:
        Corrupt: the file is missing or damaged.
    """
    try:
        values = json.loads((folder / FILE).read_text())
        return NearDuplicates(**{**values, "examples": tuple(Pair(**each) for each in values["examples"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{folder / FILE}: {error}", "run again: a damaged stage is made again") from error


def alike(ours: Fingerprints, theirs: Fingerprints) -> tuple[Indices, Indices, Shares]:
    """Pairs of rows that are nearly the same: places in ours, places in theirs, how alike they are."""
    left, right = neighbours(
        ours.bands,
        theirs.bands,
        lambda one, other: ours.distance(theirs, one, other),
        limit=ours.largest_distance,
        most=PARTNERS,
    )
    likeness = ours.likeness(theirs, left, right)
    close = likeness >= ours.least_likeness
    return left[close], right[close], likeness[close]


def _contents(dataset: DatasetVersion, rows: Indices) -> Iterator[Any]:
    """Of some rows, in ascending order. Other rows are not looked at: some of them may not decode."""
    start = 0
    for batch in dataset_format.stream(dataset.folder, [dataset.input]):
        first, last = np.searchsorted(rows, (start, start + batch.num_rows))
        yield from batch.column(0).take(rows[first:last] - start).to_pylist()
        start += batch.num_rows


def _metrics(predictions: Predictions) -> dict[str, float]:
    return predictions.objective.point_estimates(predictions.predicted, predictions.truth)
