"""The `checks:` section of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

__all__ = ["ChecksConfig"]


@dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """What the data must satisfy, beyond what no config can drop."""

    min_rows: Annotated[int, Field(ge=2)] = 20
    """Fewest usable rows."""
    min_per_class: Annotated[int, Field(ge=1)] = 5
    """Fewest usable rows of each class."""
    max_bad_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of rows that may be left out: those that do not decode, are blank, repeat another or contradict it."""
    label_leakage: Literal["warn", "refuse"] = "warn"
    """What to do when one column, word or fact alone gives a class away."""
    max_single_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.99
    """How well it may tell one class from the rest: the area under its ROC curve; 1 allows everything."""
    expect: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    """Great Expectations, each `expect_...: {column: ..., ...}`, over the table of facts (ARCHITECTURE.md lists it)."""
