"""Test rows that nearly repeat a training row: the same picture written anew, the same text with a word changed.

Exact repetitions are on one side by construction. A near one makes a test row easier than it looks, so it is reported,
with the metrics as they are without these rows. It is not refused: what is nearly the same is for people to judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.data import dataset_format
from modelworks.data.splits import TEST, TRAIN
from modelworks.errors import Corrupt
from modelworks.evaluation.config import METRICS
from modelworks.evaluation.metrics.classification import metric_value, tally
from modelworks.files.atomic_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.evaluation.inference import Predictions
    from modelworks.records import DatasetVersion, ValidationReport

__all__ = ["NearDuplicates", "Pair", "find", "read", "remark", "write"]

FILE = "near_duplicates.json"
EXAMPLES = 12

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
    left, right, likeness = _alike(report, held, learned)
    # The most alike partner of each test row comes first.
    order = np.lexsort((right, -likeness, left))
    left, right, likeness = left[order], right[order], likeness[order]
    rows, first = np.unique(left, return_index=True)
    best = first[np.argsort(-likeness[first], kind="stable")][:EXAMPLES]
    ids = dataset_format.read(report.dataset.folder, ["id"])["id"].to_pylist()
    others = np.setdiff1d(np.arange(len(held)), rows)
    classes = len(report.dataset.classes)
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
        metrics=_figures(predictions, np.arange(len(held)), classes),
        without=_figures(predictions, others, classes) if len(rows) and len(others) else {},
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


def _alike(report: ValidationReport, held: Indices, learned: Indices) -> tuple[Indices, Indices, Shares]:
    """Pairs as places in `held` and in `learned`, and how alike they are."""
    dataset = report.dataset
    if dataset.modality == "image":
        from modelworks.evaluation.near_duplicates import phash

        both = np.union1d(held, learned)
        images = _thumbnails(dataset, both)
        return phash.alike(*(images[np.searchsorted(both, rows)] for rows in (held, learned)))
    from modelworks.evaluation.near_duplicates import minhash

    texts = dataset_format.read(dataset.folder, [dataset.modality])[dataset.modality]
    return minhash.alike(*(texts.take(rows).to_pylist() for rows in (held, learned)))


def _thumbnails(dataset: DatasetVersion, rows: Indices) -> npt.NDArray[np.uint8]:
    """Of some rows, in ascending order. Other rows are not looked at: some of them may not decode."""
    from modelworks.evaluation.near_duplicates import phash

    parts, start = [np.empty((0, phash.SIDE**2), dtype=np.uint8)], 0
    for batch in dataset_format.stream(dataset.folder, [dataset.modality]):
        first, last = np.searchsorted(rows, (start, start + batch.num_rows))
        parts.append(phash.thumbnails(batch.column(0).take(rows[first:last] - start).to_pylist()))
        start += batch.num_rows
    return np.concatenate(parts)


def _figures(predictions: Predictions, rows: Indices, classes: int) -> dict[str, float]:
    counted = tally(predictions.labels[rows], predictions.predicted[rows], classes)
    return {metric: float(metric_value(metric, counted)) for metric in METRICS}
