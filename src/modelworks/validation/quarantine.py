"""Rows that cannot be used: which, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["BadRow", "bad_rows"]


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that is left out of training and testing."""

    row: int
    """Its place in examples.parquet."""
    id: str
    path: str
    """Where the source has it; empty when the source knows no paths."""
    label: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path or f'row {self.row}'}: {'; '.join(self.reasons)}"


def bad_rows(facts: pd.DataFrame, examples: pa.Table) -> tuple[BadRow, ...]:
    """The rows that have a fault, no label, repeat an earlier row or contradict another, in order.

    Of equal rows the first stays. Of contradicting ones none does: nobody can say which is right.
    """
    bad = facts[facts["fault"].notna() | facts["label"].isna() | facts["duplicate_of"].notna() | facts["conflicting"]]
    paths = examples["path"] if "path" in examples.column_names else None
    opposites = _opposites(facts)
    return tuple(
        BadRow(
            row=fact["row"],
            id=fact["id"],
            path=(paths[fact["row"]].as_py() or "") if paths is not None else "",
            label=_present(fact["label"]),
            reasons=_reasons(fact, opposites),
        )
        for fact in bad.to_dict("records")
    )


def _reasons(fact: dict[Any, Any], opposites: dict[tuple[str, str], tuple[int, str]]) -> tuple[str, ...]:
    reasons = []
    if (fault := _present(fact["fault"])) is not None:
        reasons.append(fault)
    if (label := _present(fact["label"])) is None:
        reasons.append("null label")
    if (first := _present(fact["duplicate_of"])) is not None:
        reasons.append(f"duplicate of row {first}")
    if (opposite := opposites.get((fact["id"], label))) is not None:
        reasons.append(f"contradicts row {opposite[0]} (label {label} / {opposite[1]})")
    return tuple(reasons)


def _opposites(facts: pd.DataFrame) -> dict[tuple[str, str], tuple[int, str]]:
    """For each content and label that is contradicted: the first row that does so, and its label."""
    firsts = facts[facts["conflicting"] & facts["label"].notna()].drop_duplicates(["id", "label"])
    labelled: dict[str, list[tuple[int, str]]] = {}
    for fact in firsts.to_dict("records"):
        labelled.setdefault(fact["id"], []).append((fact["row"], fact["label"]))
    return {
        (identity, label): rows[0] if rows[0][1] != label else rows[1]
        for identity, rows in labelled.items()
        for _, label in rows
    }


def _present(value: Any) -> Any:  # a cell of a DataFrame
    """The value, or None for any of pandas' ways to say that there is none."""
    import pandas as pd

    return None if pd.isna(value) else value
