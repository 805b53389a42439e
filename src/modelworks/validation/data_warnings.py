"""What is worth knowing about the data and stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelworks.data.splits import SPLIT_NAMES, VALIDATION

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["remarks"]


def remarks(facts: pd.DataFrame, usable: pd.DataFrame, modality: str, *, official: bool) -> Iterator[str]:
    """One sentence each, with the number of rows and an example.

    Args:
        facts: of all rows.
        usable: the rows of it that are not quarantined.
        modality: what a content is called.
        official: the source has its own split.
    """
    left_out = len(facts) - len(usable)
    if left_out:
        share = left_out / len(facts)
        yield f"{left_out} of {len(facts)} rows ({share:.3%}) are left out; quarantine.json has the reasons"
    repeating = facts[facts["id"].duplicated()]
    if len(repeating):
        yield f"repeated {modality}s: {len(repeating)} rows, e.g. row {repeating['row'].iloc[0]}"
    conflicting = facts[facts["conflicting"] & facts["label"].notna()]
    if len(conflicting):
        contents = conflicting["id"].nunique()
        pair = conflicting[conflicting["id"] == conflicting["id"].iloc[0]].drop_duplicates("label")[:2]
        named = " and ".join(f"row {row} is {label}" for row, label in zip(pair["row"], pair["label"], strict=True))
        yield f"contradicting labels: {len(conflicting)} rows over {contents} {modality}s, e.g. {named}; none is used"
    if modality == "text":
        yield from _text_remarks(usable)
    else:
        plain = usable[usable["contrast"] == 0]
        if len(plain):
            yield f"images of one colour throughout: {len(plain)}, e.g. row {plain['row'].iloc[0]}"
    if official:
        yield "the source's own split is used; split.test does not apply"
    yield from _validation_remarks(usable)


def _text_remarks(usable: pd.DataFrame) -> Iterator[str]:
    garbled = usable[usable["mojibake"]]
    if len(garbled):
        example = garbled["row"].iloc[0]
        yield f"texts decoded with the wrong encoding (mojibake): {len(garbled)}, e.g. row {example}; used as they are"
    replaced = usable[usable["replacement_share"] > 0]
    if len(replaced):
        yield f"texts with replacement characters (U+FFFD): {len(replaced)}, e.g. row {replaced['row'].iloc[0]}"


def _validation_remarks(usable: pd.DataFrame) -> Iterator[str]:
    watched = usable.loc[usable["split"] == SPLIT_NAMES[VALIDATION], "label"]
    if watched.empty:
        yield "no rows are for validation: nothing is watched while training"
        return
    lacking = sorted({*usable["label"]} - {*watched})
    if lacking:
        yield f"the {len(watched)} rows for validation lack {len(lacking)} of the classes, e.g. {lacking[0]}"
