"""Examples as a table of facts, one row per example: what Great Expectations, which knows only tables, can judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.data.splits import SPLIT_NAMES, TEST, TRAIN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["class_facts", "content_facts", "row_facts"]


def row_facts(examples: pa.Table, splits: np.ndarray) -> pd.DataFrame:
    """What each row is among the others, whatever its modality.

    `row`: its place in examples.parquet; `id`, `label`, `split`; `duplicate_of`: the first row with the same content
    and label, null in that row itself; `conflicting`: the same content has several labels; `leaks`: it stands in
    several splits, which only an official split can bring about.

    Args:
        examples: with columns `id` and `label`.
        splits: int8 (rows,), the code of each row's split.
    """
    import numpy as np
    import pandas as pd

    facts = pd.DataFrame(
        {
            "row": np.arange(examples.num_rows),
            "id": pd.array(examples["id"].to_pylist(), dtype="str"),
            "label": pd.array(examples["label"].to_pylist(), dtype="str"),
            "split": np.array(SPLIT_NAMES)[splits],
        }
    )
    first = facts.groupby(["id", "label"])["row"].transform("min").astype("Int64")
    contents = facts.groupby("id")
    return facts.assign(
        duplicate_of=first.where(first != facts["row"]),
        conflicting=contents["label"].transform("nunique") > 1,
        leaks=contents["split"].transform("nunique") > 1,
    )


def content_facts(contents: pa.ChunkedArray, modality: str) -> pd.DataFrame:
    """What the modality knows of each row's content; `fault` is null where it can be used."""
    if modality == "image":
        from modelworks.validation.image_facts import image_facts

        return image_facts(contents)
    from modelworks.validation.text_facts import text_facts

    assert modality == "text", modality
    return text_facts(contents)


def class_facts(usable: pd.DataFrame) -> pd.DataFrame:
    """What each usable row's class is among the others: `class_size`, and `missing_splits`.

    `missing_splits` counts those of train and test in which the class does not occur.
    """
    import pandas as pd

    counts = pd.crosstab(usable["label"], usable["split"])
    needed = counts.reindex(columns=[SPLIT_NAMES[TRAIN], SPLIT_NAMES[TEST]], fill_value=0)
    return pd.DataFrame(
        {
            "class_size": usable["label"].map(counts.sum(axis=1)),
            "missing_splits": usable["label"].map((needed == 0).sum(axis=1)),
        },
        index=usable.index,
    ).astype("int64")
