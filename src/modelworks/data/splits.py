"""The `split:` section of a config, and the assignment of rows to splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["QUARANTINED", "SPLIT_NAMES", "TEST", "TRAIN", "VALIDATION", "SplitConfig", "assign_splits"]

TRAIN, VALIDATION, TEST, QUARANTINED = 0, 1, 2, -1
SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Shares of the rows.

    A hash of each row's content decides, so rows keep their split as the data grows.

    A `split` column of the source is used instead. Validation rows are then drawn from its training rows, unless it
    has validation rows.
    """

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of validation rows, which are scored during training."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of test rows, which are used by the gate and never for training."""
    salt: str = "modelworks"
    """Added to the hashed content: another salt gives another split."""

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows for training")


def assign_splits(ids: Sequence[str], official: Sequence[str] | None, split: SplitConfig) -> np.ndarray:
    """Return the split of each row, int8 (rows,): TRAIN, VALIDATION or TEST.

    It depends only on the content: an example keeps its split as the data grows, duplicates have the same split, and
    no later version is trained on an earlier version's test rows.
    """
    import numpy as np

    salt = split.salt.encode()
    draws = np.frombuffer(
        b"".join(hashlib.sha256(salt + each.encode()).digest()[:8] for each in ids), dtype=">u8"
    ).astype(np.float64) / float(2**64)
    if official is None:
        return np.select([draws < split.test, draws < split.test + split.validation], [TEST, VALIDATION], TRAIN).astype(
            np.int8
        )
    codes = np.array([SPLIT_NAMES.index(name) for name in official], dtype=np.int8)
    if not (codes == VALIDATION).any():
        codes[(codes == TRAIN) & (draws < split.validation)] = VALIDATION
    return codes
