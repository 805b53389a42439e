"""The `checks:` section of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

__all__ = ["ChecksConfig"]


@dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """Checks of the data, in addition to the mandatory ones."""

    min_rows: Annotated[int, Field(ge=2)] = 20
    """Minimum number of usable rows."""
    min_per_class: Annotated[int, Field(ge=1)] = 5
    """Minimum number of usable rows per class."""
    max_bad_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Maximum share of bad rows: rows that do not decode, are blank, or repeat or contradict another row."""
    label_leakage: Literal["warn", "refuse"] = "warn"
    """What to do if a single column, word or fact predicts a class."""
    max_single_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.99
    """Maximum area under the ROC curve of a single feature, one class against the rest; 1 allows everything."""
    expect: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    """Expectations, each `expect_...: {column: ..., ...}`, on the table of facts (listed in ARCHITECTURE.md)."""
