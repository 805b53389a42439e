"""Find the rows that cannot be used, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

__all__ = ["BadRow", "bad_rows"]


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that is excluded from training and testing."""

    row: int
    """Its index in examples.parquet."""
    id: str
    path: str
    """Its path in the source; empty if the source has no paths."""
    label: str | None
    """The first target."""
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path or f'row {self.row}'}: {'; '.join(self.reasons)}"


def bad_rows(facts: pd.DataFrame, examples: pa.Table, targets: Sequence[str]) -> tuple[BadRow, ...]:
    """Return the rows with a fault or without a target, and those that repeat or contradict another.

    The first of equal rows is kept. Of contradicting rows none is kept, because the right one is unknown.
    """
    lacking = facts[list(targets)].isna().any(axis=1)
    bad = facts[facts["fault"].notna() | lacking | facts["duplicate_of"].notna() | facts["conflicting"]]
    paths = examples["path"] if "path" in examples.column_names else None
    opposites = {name: _opposites(facts, name) for name in targets}
    return tuple(
        BadRow(
            row=fact["row"],
            id=fact["id"],
            path=(paths[fact["row"]].as_py() or "") if paths is not None else "",
            label=_word(fact[targets[0]]),
            reasons=_reasons(fact, opposites),
        )
        for fact in bad.to_dict("records")
    )


def _reasons(fact: dict[Any, Any], opposites: dict[str, dict[tuple[str, Any], tuple[int, Any]]]) -> tuple[str, ...]:
    reasons = []
    if (fault := _present(fact["fault"])) is not None:
        reasons.append(fault)
    reasons += [f"null {name}" for name in opposites if _present(fact[name]) is None]
    if (first := _present(fact["duplicate_of"])) is not None:
        reasons.append(f"duplicate of row {first}")
    for name, others in opposites.items():
        if (opposite := others.get((fact["id"], _present(fact[name])))) is not None:
            values = f"{_word(fact[name])} / {_word(opposite[1])}"
            reasons.append(f"contradicts row {opposite[0]} ({name} {values})")
    return tuple(reasons)


def _opposites(facts: pd.DataFrame, name: str) -> dict[tuple[str, Any], tuple[int, Any]]:
    """Return the first row, and its target, that contradicts each (content, target)."""
    firsts = facts[facts["conflicting"] & facts[name].notna()].drop_duplicates(["id", name])
    of_content: dict[str, list[tuple[int, Any]]] = {}
    for fact in firsts.to_dict("records"):
        of_content.setdefault(fact["id"], []).append((fact["row"], fact[name]))
    return {
        (identity, value): rows[0] if rows[0][1] != value else rows[1]
        for identity, rows in of_content.items()
        for _, value in rows
        if len(rows) > 1
    }


def _word(value: Any) -> str | None:  # a cell of a DataFrame
    """Return a target as text; None if it is missing."""
    known = _present(value)
    return f"{known:g}" if isinstance(known, float) else known


def _present(value: Any) -> Any:  # a cell of a DataFrame
    """Return the value, or None for any of pandas' missing values."""
    import pandas as pd

    return None if pd.isna(value) else value
