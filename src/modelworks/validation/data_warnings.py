"""Warnings about the data that do not stop the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modelworks.data.splits import SPLIT_NAMES, VALIDATION
from modelworks.modalities.base import facts_module
from modelworks.objectives.data_checks import checks_module

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["remarks"]


def remarks(
    facts: pd.DataFrame, usable: pd.DataFrame, *, modality: str, objective: str, targets: Sequence[str], official: bool
) -> Iterator[str]:
    """Yield the warnings, each with the number of rows and an example.

    Args:
        facts: facts of all rows.
        usable: the rows of `facts` that are not in quarantine.
        modality: the kind of input.
        objective: the kind of objective.
        targets: names of the target columns.
        official: whether the source has its own split.
    """
    left_out = len(facts) - len(usable)
    if left_out:
        share = left_out / len(facts)
        yield f"{left_out} of {len(facts)} rows ({share:.3%}) are left out; quarantine.json has the reasons"
    repeating = facts[facts["id"].duplicated()]
    if len(repeating):
        yield f"repeated {modality}s: {len(repeating)} rows, e.g. row {repeating['row'].iloc[0]}"
    for name in targets:
        yield from _contradictions(facts[facts["conflicting"] & facts[name].notna()], name, modality)
    yield from facts_module(modality).remarks(usable)
    if official:
        yield "the source's own split is used; split.test does not apply"
    if not (usable["split"] == SPLIT_NAMES[VALIDATION]).any():
        yield "there are no validation rows: nothing is monitored during training"
    yield from checks_module(objective).remarks(usable)


def _contradictions(conflicting: pd.DataFrame, name: str, modality: str) -> Iterator[str]:
    """Yield a warning about rows with the same content and different values of a target."""
    conflicting = conflicting[conflicting.groupby("id")[name].transform("nunique") > 1]
    if len(conflicting):
        contents = conflicting["id"].nunique()
        pair = conflicting[conflicting["id"] == conflicting["id"].iloc[0]].drop_duplicates(name)[:2]
        named = " and ".join(f"row {row} is {value}" for row, value in zip(pair["row"], pair[name], strict=True))
        several = name if name.endswith("s") else f"{name}s"
        yield (
            f"contradicting {several}: {len(conflicting)} rows of {contents} {modality}s, e.g. {named}; none is used"
        )
