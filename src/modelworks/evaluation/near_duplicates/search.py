"""Find test rows that are near-duplicates of training rows, such as re-encoded images.

Exact duplicates are always in the same split. Near-duplicates make the test easier, so they are reported with the
metrics without these rows. They do not fail a check, because the similarity limit is a matter of judgement.
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
"""Maximum number of training rows compared with a test row, the nearest first."""

Indices = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test row and its most similar training row, by id."""

    test: str
    train: str
    likeness: float
    """Correlation of thumbnails of images, Jaccard index of byte sequences of texts."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Near-duplicates between test rows and training rows."""

    tested: int
    rows: int
    """Number of test rows that are near-duplicates."""
    examples: tuple[Pair, ...]
    """Some pairs, the most similar first."""
    metrics: Mapping[str, float]
    """Each metric over all test rows."""
    without: Mapping[str, float]
    """Each metric over the other test rows; empty if there are none."""


def find(report: ValidationReport, predictions: Predictions) -> NearDuplicates:
    """Compare the test rows of a validated data set with its training rows.

    Raises:
        Corrupt: the data are damaged.
    """
    splits = np.load(report.folder / "splits.npy", allow_pickle=False)
    test = np.flatnonzero(splits == TEST)
    train = np.flatnonzero(splits == TRAIN)
    both = np.union1d(test, train)
    fingerprints = fingerprints_class(report.dataset.modality).of(_contents(report.dataset, both))
    left, right, likeness = alike(*(fingerprints.take(np.searchsorted(both, rows)) for rows in (test, train)))
    # Sort the most similar partner of each test row first.
    order = np.lexsort((right, -likeness, left))
    left, right, likeness = left[order], right[order], likeness[order]
    rows, first = np.unique(left, return_index=True)
    best = first[np.argsort(-likeness[first], kind="stable")][:EXAMPLES]
    ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
    others = np.setdiff1d(np.arange(len(test)), rows)
    return NearDuplicates(
        tested=len(test),
        rows=len(rows),
        examples=tuple(
            Pair(
                test=ids[test[left[place]]],
                train=ids[train[right[place]]],
                likeness=round(float(likeness[place]), 4),
            )
            for place in best
        ),
        metrics=_metrics(predictions),
        without=_metrics(predictions.take(others)) if len(rows) and len(others) else {},
    )


def remark(found: NearDuplicates, metric: str) -> str:
    """Return a remark for the verdict; empty if there are no near-duplicates."""
    if not found.rows:
        return ""
    text = f"{found.rows:,} of {found.tested:,} test rows are near-duplicates of training rows"
    if not found.without:
        return text
    return f"{text}; without them {metric} is {found.without[metric]:.4f} rather than {found.metrics[metric]:.4f}"


def write(found: NearDuplicates, folder: Path) -> None:
    """Write near_duplicates.json."""
    write_json(folder / FILE, asdict(found))


def read(folder: Path) -> NearDuplicates:
    """Read near_duplicates.json.

    Raises:
        Corrupt: the file is missing or damaged.
    """
    try:
        values = json.loads((folder / FILE).read_text())
        return NearDuplicates(**{**values, "examples": tuple(Pair(**each) for each in values["examples"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{folder / FILE}: {error}", "run again: damaged outputs are rebuilt", code="stage.damaged"
        ) from error


def alike(ours: Fingerprints, theirs: Fingerprints) -> tuple[Indices, Indices, Shares]:
    """Return near-duplicates as (row of ours, row of theirs, similarity)."""
    left, right = neighbours(
        ours.bands,
        theirs.bands,
        lambda one, other: ours.distance(theirs, one, other),
        limit=ours.max_distance,
        most=PARTNERS,
    )
    likeness = ours.similarity(theirs, left, right)
    close = likeness >= ours.min_similarity
    return left[close], right[close], likeness[close]


def _contents(dataset: DatasetVersion, rows: Indices) -> Iterator[Any]:
    """Yield the contents of sorted rows; other rows, which may not decode, are skipped."""
    start = 0
    for batch in dataset_format.stream(dataset.folder, [dataset.input]):
        first, last = np.searchsorted(rows, (start, start + batch.num_rows))
        yield from batch.column(0).take(rows[first:last] - start).to_pylist()
        start += batch.num_rows


def _metrics(predictions: Predictions) -> dict[str, float]:
    return predictions.objective.point_estimates(predictions.predicted, predictions.truth)
