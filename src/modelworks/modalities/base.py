"""Interfaces of a modality: tensors, facts, fingerprints and previews of one kind of input.

`image.py` has the processor, which is saved with every model. `image_facts.py`, `image_fingerprints.py` and
`image_preview.py` serve validation, evaluation and reports, so a change there does not affect models. Other modalities
are organised the same way.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import torch

__all__ = [
    "Facts",
    "Fingerprints",
    "Preview",
    "Processor",
    "facts_module",
    "fingerprints_class",
    "preview_module",
    "processor_class",
]


class Processor(Protocol):
    """Interface of every modality's `Processor`. One instance belongs to one model."""

    kind: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    """Fields of the `model:` section that `fit` reads."""
    libraries: ClassVar[tuple[str, ...]]
    """Distributions that `decode` depends on."""
    fact_libraries: ClassVar[tuple[str, ...]]
    """Distributions that the facts of validation depend on."""
    resident: ClassVar[tuple[str, ...]]
    """Names of the arrays that may be kept on the device."""
    augmentations: ClassVar[tuple[str, ...]]
    """Fields of `train.augment` that it supports."""
    has_tokens: ClassVar[bool]
    """Whether rows have lengths in tokens, which `train.batch_tokens` needs."""
    content_name: ClassVar[str]
    """A noun for one content, with its article."""
    request_example: ClassVar[str]
    """A content as it appears in a JSON string of a shell command for the scoring server."""
    spec: dict[str, Any]
    """JSON values that are saved with the model."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None) -> None:
        """Restore a processor from its spec and the files that `save` wrote."""

    @classmethod
    def fit(cls, contents: Collection[Any], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Processor:
        """Fit a processor to the contents of the training rows only.

        Args:
            contents: may be iterated several times.
            settings: the `model:` section of the config.
            assets: the architecture's files, by name.
        """
        ...

    @property
    def shape(self) -> dict[str, int]:
        """Sizes of the input that an architecture needs."""
        ...

    def save(self, folder: Path) -> None:
        """Write the state that `spec` cannot hold."""

    def from_json(self, value: Any) -> Any:
        """Return the content of a request.

        Raises:
            ValueError: the value is no valid content. The message follows "row 3".
        """
        ...

    def decode(self, contents: Any) -> dict[str, np.ndarray]:
        """Decode contents to arrays that can be concatenated over calls."""
        ...

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Convert decoded arrays to the tensors that `collate` indexes."""
        ...

    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Return the tokens of each row; None if all rows cost the same."""
        ...

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Return the model's input for some rows, by argument name of the network."""
        ...

    def augment(self, inputs: Mapping[str, torch.Tensor], config: Any) -> dict[str, torch.Tensor]:
        """Augment the input of a training batch on its device, as `train.augment` configures."""
        ...


def processor_class(kind: str) -> type[Processor]:
    """Return the processor class of a modality; imports no library."""
    result: type[Processor] = importlib.import_module(f"{__package__}.{kind}").Processor
    return result


class Facts(Protocol):
    """Interface of a module such as `image_facts.py`, which computes facts for validation."""

    SIZE: str
    """The fact that is null if there is no content."""
    MEASURES: tuple[str, ...]
    """Numeric facts: possible leaking features."""
    WORDS: bool
    """Whether contents are texts, whose words are possible leaking features too."""

    def facts(self, contents: pa.ChunkedArray) -> pa.Table:
        """Return one row per content, with `decodes` (bool) and `fault` (string, null if usable)."""
        ...

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """Yield remarks about the usable contents that stop nothing, one sentence each."""
        ...


class Fingerprints(Protocol):
    """Signatures of contents, to find near-duplicates without comparing every pair."""

    max_distance: ClassVar[int]
    """Maximum distance of two signatures whose contents are compared."""
    min_similarity: ClassVar[float]
    """Similarity from which two contents are near-duplicates."""
    bands: np.ndarray
    """(rows, bands): near-duplicates agree in at least one band."""

    @classmethod
    def of(cls, contents: Iterable[Any]) -> Self:
        """Compute the signatures of contents."""
        ...

    def take(self, rows: np.ndarray) -> Self:
        """Return the signatures of some rows."""
        ...

    def distance(self, other: Self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the distances of the signatures of pairs of rows: integers (pairs,)."""
        ...

    def similarity(self, other: Self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the similarities of pairs of contents: float32 (pairs,); 1 for equal ones."""
        ...


class Preview(Protocol):
    """Interface of a module such as `image_preview.py`."""

    def preview(self, content: Any) -> np.ndarray | str:
        """Return a preview for reports: pixels, uint8 (height, width, 3), or a short text."""
        ...


def facts_module(kind: str) -> Facts:
    """Return the module that computes a modality's facts."""
    found: Any = importlib.import_module(f"{__package__}.{kind}_facts")
    return cast("Facts", found)


def fingerprints_class(kind: str) -> type[Fingerprints]:
    """Return the class that finds near-duplicates of a modality."""
    found: type[Fingerprints] = importlib.import_module(f"{__package__}.{kind}_fingerprints").Fingerprints
    return found


def preview_module(kind: str) -> Preview:
    """Return the module that makes a modality's previews."""
    found: Any = importlib.import_module(f"{__package__}.{kind}_preview")
    return cast("Preview", found)
