"""The `split:` section of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from modelworks.bounds import Bounds

__all__ = ["SplitConfig"]


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Shares of the rows, drawn by a hash of each row's content: stable as the data grows.

    An official `split` column is honoured instead; validation rows are then drawn from its training rows
    unless it names some itself.
    """

    validation: Annotated[float, Bounds(ge=0, lt=1)] = 0.05
    """Watched while training."""
    test: Annotated[float, Bounds(gt=0, lt=1)] = 0.2
    """Judged by the gate, never trained on."""
    salt: str = "modelworks"
    """Another salt is another draw."""

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
