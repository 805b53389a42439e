"""Data checks of an objective's targets.

A kind may have a module NAME_checks.py beside NAME.py. It is not part of saved models, so a change there does not
repeat a training.
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
    """Name in Great Expectations, in snake case."""
    arguments: Mapping[str, Any]
    required: str
    """The requirement in words."""
    observe: Callable[[pd.DataFrame], str] | None = None
    """Describes the observed facts; if None, Great Expectations' own result is reported."""
    hint: str = "correct the data, or change checks in the config"


class TargetChecks(Protocol):
    """Interface of a module such as `classification_checks.py`."""

    LEAKAGE: str
    """The single-label target that is checked for leaking features; empty for no such check."""

    def target_facts(self, usable: pd.DataFrame) -> pd.DataFrame:
        """Return further columns of the table of facts, one row per usable row."""
        ...

    def checks(self, targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
        """Return the checks of the targets; `section` is the config's `checks:`."""
        ...

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """Yield remarks about the targets that stop nothing, one sentence each."""
        ...


class NoChecks:
    """For a kind without its own module: no checks beyond those of every target."""

    LEAKAGE = ""

    def target_facts(self, usable: pd.DataFrame) -> pd.DataFrame:
        """Return no columns."""
        import pandas as pd

        return pd.DataFrame(index=usable.index)

    def checks(self, targets: Mapping[str, Mapping[str, Any]], section: Any) -> Sequence[DataCheck]:
        """Return no checks."""
        return ()

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """Yield nothing."""
        return iter(())


def checks_module(kind: str) -> TargetChecks:
    """Return the data checks of a kind of objective."""
    name = f"{__package__}.{kind}_checks"
    if importlib.util.find_spec(name) is None:
        return NoChecks()
    return cast("TargetChecks", importlib.import_module(name))
