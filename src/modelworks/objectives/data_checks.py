"""What validation asks of the targets of an objective.

A kind may have a module NAME_checks.py beside NAME.py. It is a file of its own, which no model's package carries: a
change there trains nothing again.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DataCheck", "TargetChecks", "checks_module"]


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """One expectation over the table of facts, and how to report it."""

    name: str
    expectation: str
    """Great Expectations' name for it, in snake case."""
    arguments: Mapping[str, Any]
    required: str
    """What it requires, in words."""
    observe: Callable[[pd.DataFrame], str] | None = None
    """Says what the facts hold; without it Great Expectations' own result is reported."""
    hint: str = "correct the data, or change checks in the config"


class TargetChecks(Protocol):
    """What a module such as `classification_checks.py` has."""

    LEAKAGE: str
    """The target, one class per row, that no single feature may give away; empty where that is not asked."""

    def target_facts(self, usable: pd.DataFrame) -> pd.DataFrame:
        """Further columns of the table of facts, one row per usable row, made from the targets."""
        ...

    def checks(self, targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
        """What the targets of every data set must satisfy; `section` is the config's `checks:`."""
        ...

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """What is worth knowing about the targets and stops nothing, one sentence each."""
        ...


class NoChecks:
    """Of a kind without a module of its own: nothing beyond what every target must satisfy."""

    LEAKAGE = ""

    def target_facts(self, usable: pd.DataFrame) -> pd.DataFrame:
        """No further columns."""
        import pandas as pd

        return pd.DataFrame(index=usable.index)

    def checks(self, targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
        """No further checks."""
        return ()

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """Nothing."""
        return iter(())


def checks_module(kind: str) -> TargetChecks:
    """What validation asks of the targets of a kind of objective."""
    name = f"{__package__}.{kind}_checks"
    if importlib.util.find_spec(name) is None:
        return NoChecks()
    return cast("TargetChecks", importlib.import_module(name))
