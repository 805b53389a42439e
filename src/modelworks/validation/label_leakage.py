"""Label leakage: a single column, word or fact that gives the label away, so that nothing else is learnt."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelworks.modalities.base import facts_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    import pyarrow as pa

    from modelworks.records import DatasetVersion

__all__ = ["leaking_features"]

FEWEST = 10
"""Rows on each side of a comparison: with fewer, one of many features tells them apart by chance."""
NO_FEATURES = {"id", "split", "path"}
"""Columns that are none, beside targets and contents: a path often says where the label came from."""
LOWER_HALF = tuple("01234567")
"""Of the first digits of an id: a fair coin for each content."""

_WORD = re.compile(r"\w+")

Areas = npt.NDArray[np.float64]
"""(classes,) areas under the ROC curves of one feature, each class against the rest; 0.5 to 1."""


def leaking_features(
    facts: pd.DataFrame, examples: pa.Table, dataset: DatasetVersion, target: str, above: float
) -> pd.Series[Any]:
    """For each usable row: what alone tells its class from all others, null for nothing.

    A feature is taken for a classifier of one class against the rest. It gives the class away when the area under its
    ROC curve (the Mann-Whitney statistic: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747) is above a
    limit. That leakage shows in features too good to be true: Kaufman et al. 2012, doi:10.1145/2382577.2382579.

    Features are the numbers among the facts and the kept columns; the values of kept columns; and whether a word
    stands in a text or a kept column. For images the facts are all that a model sees and a number can hold.

    Args:
        facts: of the usable rows, with `row`, `id`, the target and the modality's.
        examples: all rows of the data set.
        dataset: which of its columns are what.
        target: the column of the classes.
        above: the limit; no area is above 1.
    """
    import pandas as pd

    codes, classes = pd.factorize(facts[target], sort=True)
    sides = _Sides(codes, np.bincount(codes))
    best: dict[int, tuple[float, str]] = {}
    words = facts_module(dataset.modality).WORDS
    columns = [name for name in examples.column_names if name not in {*NO_FEATURES, *dataset.targets, dataset.input}]
    kept = examples.select([*columns, *([dataset.input] if words else [])]).take(facts["row"].to_numpy())
    for name, areas in _features(facts, kept, dataset, sides, above):
        for each in np.flatnonzero(sides.judged & (areas > above)).tolist():
            if areas[each] > best.get(each, (0.0, ""))[0]:
                best[each] = (float(areas[each]), name)
    said = [_sentence(*best[each]) if each in best else None for each in range(len(classes))]
    return pd.Series(pd.array(said, dtype="str")[codes], index=facts.index, name="given_away_by")


@dataclass(frozen=True)
class _Sides:
    """The rows of each class, and all others."""

    codes: npt.NDArray[np.intp]
    """(rows,) the class of each."""
    sizes: npt.NDArray[np.intp]
    """(classes,) number of rows."""

    @property
    def others(self) -> npt.NDArray[np.intp]:
        return np.asarray(self.sizes.sum() - self.sizes)

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        return np.minimum(self.sizes, self.others) >= FEWEST


def _sentence(area: float, name: str) -> str:
    return f"{name} (AUC {np.floor(area * 1000) / 1000:.3f})"  # never rounded up to a 1 that it is not


def _features(
    facts: pd.DataFrame, kept: pa.Table, dataset: DatasetVersion, sides: _Sides, above: float
) -> Iterator[tuple[str, Areas]]:
    """Each feature by name, in words, and its areas."""
    import pandas as pd

    for name in facts_module(dataset.modality).MEASURES:
        yield f"{dataset.modality}s' {name}", _of_numbers(facts[name].to_numpy(np.float64), sides)
    half = facts["id"].str.startswith(LOWER_HALF).to_numpy().astype(np.intp)
    texts: dict[str, list[str | None]] = {}
    for name in kept.column_names:
        if name == dataset.input:
            texts[f"the {name}"] = kept[name].to_pylist()
            continue
        values = pd.Series(kept[name].to_pylist(), dtype="object")
        numbers = pd.to_numeric(values, errors="coerce")
        if (numbers.notna() | values.isna()).all():
            yield f"column {name}", _of_numbers(numbers.to_numpy(np.float64), sides)
        yield f"column {name}", _of_values(pd.factorize(values, use_na_sentinel=False)[0], half, sides)
        texts[f"column {name}"] = [None if value is None else str(value) for value in values]
    for name, column in texts.items():
        for word, areas in _of_words(column, sides, above):
            yield f"the word {word!r} in {name}", areas


def _of_numbers(numbers: npt.NDArray[np.float64], sides: _Sides) -> Areas:
    """By the sum of the ranks of each class's rows; what is no number is less than all."""
    _, places, counts = np.unique(np.nan_to_num(numbers, nan=-np.inf), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    sums = np.bincount(sides.codes, ranks, len(sides.sizes))
    above = (sums - sides.sizes * (sides.sizes + 1) / 2) / np.maximum(sides.sizes * sides.others, 1)
    return np.asarray(np.maximum(above, 1 - above))


def _of_values(values: npt.NDArray[np.intp], half: npt.NDArray[np.intp], sides: _Sides) -> Areas:
    """By how often the rows of the other half with the same value are of a class: values that occur once say nothing.

    Args:
        values: (rows,) codes.
        half: (rows,) 0 or 1.
        sides: the classes.
    """
    counts = np.zeros((2, values.max() + 1, len(sides.sizes)))
    np.add.at(counts, (1 - half, values, sides.codes), 1)
    whole = counts.sum(axis=1, keepdims=True)
    # A value that the other half does not have is as likely of a class as any row of that half.
    shares = (counts + whole / np.maximum(whole.sum(axis=2, keepdims=True), 1)) / (
        counts.sum(axis=2, keepdims=True) + 1
    )
    areas = []
    for each, size in enumerate(sides.sizes):
        two = _Sides((sides.codes == each).astype(np.intp), np.array([sides.others[each], size]))
        areas.append(_of_numbers(shares[half, values, each], two)[1])
    return np.array(areas)


def _of_words(texts: Sequence[str | None], sides: _Sides, above: float) -> Iterator[tuple[str, Areas]]:
    """By which share of each side has the word; only words that enough rows have for the limit."""
    if not sides.judged.any():
        return
    having: list[Counter[str]] = [Counter() for _ in sides.sizes]
    for text, code in zip(texts, sides.codes, strict=True):
        having[code].update({*_WORD.findall(text.lower())} if text else ())
    anywhere: Counter[str] = Counter()
    for each in having:
        anywhere.update(each)
    fewest = (2 * above - 1) * np.minimum(sides.sizes, sides.others)[sides.judged].min()
    for word, count in anywhere.items():
        if count >= fewest:
            inside = np.array([each[word] for each in having])
            difference = inside / sides.sizes - (count - inside) / np.maximum(sides.others, 1)
            yield word, (1 + np.abs(difference)) / 2
