"""Compute the table of facts, one row per example, that Great Expectations checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks.data.splits import SPLIT_NAMES
from modelworks.modalities.base import facts_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["content_facts", "row_facts"]


def row_facts(examples: pa.Table, splits: np.ndarray, targets: Sequence[str]) -> pd.DataFrame:
    """Return the facts that do not depend on the modality.

    `row`: index in examples.parquet; `id`, `split`, and the targets by name; `duplicate_of`: the first row with the
    same content and targets, null in that row; `conflicting`: the same content has several targets; `leaks`: the same
    content is in several splits, which is only possible with a split column.

    Args:
        examples: with columns `id` and the targets.
        splits: int8 (rows,), the code of each row's split.
        targets: the names of their columns.
    """
    import numpy as np
    import pandas as pd

    facts = pd.DataFrame(
        {
            "row": np.arange(examples.num_rows),
            "id": pd.array(examples["id"].to_pylist(), dtype="str"),
            **{name: _target(examples[name]) for name in targets},
            "split": np.array(SPLIT_NAMES)[splits],
        }
    )
    first = facts.groupby(["id", *targets])["row"].transform("min").astype("Int64")
    contents = facts.groupby("id")
    several = [contents[name].transform("nunique") > 1 for name in targets]
    return facts.assign(
        duplicate_of=first.where(first != facts["row"]),
        conflicting=np.any(several, axis=0),
        leaks=contents["split"].transform("nunique") > 1,
    )


def content_facts(contents: pa.ChunkedArray, modality: str) -> pd.DataFrame:
    """Return the modality's facts about each row's content; `fault` is null for usable content."""
    table = facts_module(modality).facts(contents)
    types = {"int64": "Int64", "string": "str", "bool": "bool", "double": "float64"}
    facts: pd.DataFrame = table.to_pandas()
    return facts.astype({field.name: types[str(field.type)] for field in table.schema})


def _target(column: pa.ChunkedArray) -> Any:  # an array of pandas
    """Return a target as a column: a number, a class, or several classes as one string."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return column.to_numpy()
    if pa.types.is_list(column.type):
        return pd.array([None if each is None else ", ".join(each) for each in column.to_pylist()], dtype="str")
    return pd.array(column.to_pylist(), dtype="str")
