"""Find label leakage: a single column, word or fact that alone predicts the label."""

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
"""Minimum number of rows per side: with fewer, some of many features separate them by chance."""
NO_FEATURES = {"id", "split", "path"}
"""Columns that are not features, besides targets and inputs: a path often contains the label."""
LOWER_HALF = tuple("01234567")
"""First hexadecimal digits of an id that select half of the contents at random."""

_WORD = re.compile(r"\w+")

Areas = npt.NDArray[np.float64]
"""(classes,) areas under the ROC curve of one feature, each class against the rest; 0.5 to 1."""


def leaking_features(
    facts: pd.DataFrame, examples: pa.Table, dataset: DatasetVersion, target: str, above: float
) -> pd.Series[Any]:
    """Return for each usable row the feature that leaks its class, null for none.

    Each feature is used as a classifier of one class against the rest. It leaks the class if the area under its ROC
    curve (the Mann-Whitney statistic: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747) is above a limit.
    Features that are too good indicate leakage: Kaufman et al. 2012, doi:10.1145/2382577.2382579.

    Features are numeric facts, numeric kept columns, the values of kept columns, and whether a word occurs in a text
    or a kept column. Images have only their facts.

    Args:
        facts: facts of the usable rows, with `row`, `id`, the target and the modality's facts.
        examples: all rows of the data set.
        dataset: the data set, which has the types of its columns.
        target: the name of the class column.
        above: the limit of the area; 1 allows everything.
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
    messages = [_message(*best[each]) if each in best else None for each in range(len(classes))]
    return pd.Series(pd.array(messages, dtype="str")[codes], index=facts.index, name="leaking_feature")


@dataclass(frozen=True)
class _Sides:
    """The rows of each class and the rest."""

    codes: npt.NDArray[np.intp]
    """(rows,) class of each row."""
    sizes: npt.NDArray[np.intp]
    """(classes,) number of rows."""

    @property
    def others(self) -> npt.NDArray[np.intp]:
        return np.asarray(self.sizes.sum() - self.sizes)

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        return np.minimum(self.sizes, self.others) >= FEWEST


def _message(area: float, name: str) -> str:
    return f"{name} (AUC {np.floor(area * 1000) / 1000:.3f})"  # round down, so that 0.9999 is not shown as 1


def _features(
    facts: pd.DataFrame, kept: pa.Table, dataset: DatasetVersion, sides: _Sides, above: float
) -> Iterator[tuple[str, Areas]]:
    """Yield a description of each feature, and its areas."""
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
    """Return the areas of a number, from the rank sum of each class.

    NaN counts as the smallest value.
    """
    _, places, counts = np.unique(np.nan_to_num(numbers, nan=-np.inf), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    sums = np.bincount(sides.codes, ranks, len(sides.sizes))
    above = (sums - sides.sizes * (sides.sizes + 1) / 2) / np.maximum(sides.sizes * sides.others, 1)
    return np.asarray(np.maximum(above, 1 - above))


def _of_values(values: npt.NDArray[np.intp], half: npt.NDArray[np.intp], sides: _Sides) -> Areas:
    """Return the areas of a category, scored by its class shares in the other half of the rows.

    The split into halves keeps values that occur only once from separating the classes.

    Args:
        values: (rows,) codes of the values.
        half: (rows,) 0 or 1.
        sides: the rows of each class.
    """
    counts = np.zeros((2, values.max() + 1, len(sides.sizes)))
    np.add.at(counts, (1 - half, values, sides.codes), 1)
    totals = counts.sum(axis=1, keepdims=True)
    # For a value that the other half lacks, use the class shares of that half.
    shares = (counts + totals / np.maximum(totals.sum(axis=2, keepdims=True), 1)) / (
        counts.sum(axis=2, keepdims=True) + 1
    )
    areas = []
    for each, size in enumerate(sides.sizes):
        two = _Sides((sides.codes == each).astype(np.intp), np.array([sides.others[each], size]))
        areas.append(_of_numbers(shares[half, values, each], two)[1])
    return np.array(areas)


def _of_words(texts: Sequence[str | None], sides: _Sides, above: float) -> Iterator[tuple[str, Areas]]:
    """Yield the areas of each word, from its share of each side.

    Skip words too rare to exceed the limit.
    """
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
