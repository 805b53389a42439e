"""The interfaces of a modality: how one kind of input becomes tensors, facts, fingerprints and previews.

`image.py` has the processor, which travels with every model. `image_facts.py`, `image_fingerprints.py` and
`image_preview.py` have what validation, evaluation and reports need of images, so that a change there leaves models
alone. Other modalities likewise.
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
    """What the `Processor` of every modality can do. One instance belongs to one model."""

    kind: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    """Fields of the `model:` section that `fit` reads."""
    libraries: ClassVar[tuple[str, ...]]
    """Distributions that `decode` depends on."""
    fact_libraries: ClassVar[tuple[str, ...]]
    """Distributions that the facts which validation takes from a content depend on."""
    resident: ClassVar[tuple[str, ...]]
    """Names of the arrays that may live on the device."""
    augmentations: ClassVar[tuple[str, ...]]
    """Fields of `train.augment` that it knows."""
    has_tokens: ClassVar[bool]
    """Whether rows have lengths in tokens, so that `train.batch_tokens` can count them."""
    content_name: ClassVar[str]
    """One content in words, with its article."""
    request_example: ClassVar[str]
    """A content inside a JSON string, in a shell command that asks a server."""
    spec: dict[str, Any]
    """JSON that is kept with the model."""

    def __init__(self, spec: Mapping[str, Any], folder: Path | None = None) -> None:
        """Make it again from what a model keeps: the spec, and the files that `save` wrote."""

    @classmethod
    def fit(cls, contents: Collection[Any], settings: Mapping[str, Any], assets: Mapping[str, bytes]) -> Processor:
        """Learn it from the contents of the training rows alone.

        Args:
            contents: gone through any number of times.
            settings: the `model:` section of the config.
            assets: files that come with the architecture, by name.
        """
        ...

    @property
    def shape(self) -> dict[str, int]:
        """What an architecture must know of its input."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `spec` cannot hold."""

    def from_json(self, value: Any) -> Any:
        """The content that a request gives.

        Raises:
            ValueError: it gives none. The message follows "row 3".
        """
        ...

    def decode(self, contents: Any) -> dict[str, np.ndarray]:
        """Contents of some rows to arrays, which rows of other calls can be appended to."""
        ...

    def arrange(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Decoded arrays to tensors that `collate` slices."""
        ...

    def lengths(self, arrays: Mapping[str, torch.Tensor]) -> np.ndarray | None:
        """Tokens of each row; None where all rows cost the same."""
        ...

    def collate(
        self, arrays: Mapping[str, torch.Tensor], indices: torch.Tensor, device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """The model's input for some rows, by the names of the network's arguments."""
        ...

    def augment(self, inputs: Mapping[str, torch.Tensor], config: Any) -> dict[str, torch.Tensor]:
        """The input of a training batch, varied as `train.augment` says, on its device."""
        ...


def processor_class(kind: str) -> type[Processor]:
    """The processor of a modality; imports no library."""
    found: type[Processor] = importlib.import_module(f"{__package__}.{kind}").Processor
    return found


class Facts(Protocol):
    """What a module such as `image_facts.py` has: what validation knows of each content."""

    SIZE: str
    """The fact that is null where there is no content."""
    MEASURES: tuple[str, ...]
    """Numbers among the facts: features that might alone give a target away."""
    WORDS: bool
    """Whether contents are texts, whose words are such features too."""

    def facts(self, contents: pa.ChunkedArray) -> pa.Table:
        """One row per content; among the columns `decodes` (bool) and `fault` (string, null for a usable content)."""
        ...

    def remarks(self, usable: pd.DataFrame) -> Iterator[str]:
        """What is worth knowing about the usable contents and stops nothing, one sentence each."""
        ...


class Fingerprints(Protocol):
    """Signatures of some contents, to find those that are nearly the same without comparing each with each."""

    largest_distance: ClassVar[int]
    """Of two signatures whose contents are worth comparing."""
    least_likeness: ClassVar[float]
    """From here on two contents are nearly the same."""
    bands: np.ndarray
    """(rows, bands): contents that are nearly the same agree in a band."""

    @classmethod
    def of(cls, contents: Iterable[Any]) -> Self: ...

    def take(self, rows: np.ndarray) -> Self:
        """Those of some rows."""
        ...

    def distance(self, other: Self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Integers (pairs,): how far the signatures of pairs of rows lie apart."""
        ...

    def likeness(self, other: Self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """float32 (pairs,): how alike the contents of pairs of rows are; 1 for the same."""
        ...


class Preview(Protocol):
    """What a module such as `image_preview.py` has."""

    def preview(self, content: Any) -> np.ndarray | str:
        """What a report shows of a content: pixels, uint8 (height, width, 3), or a short text."""
        ...


def facts_module(kind: str) -> Facts:
    """What validation knows of a modality."""
    found: Any = importlib.import_module(f"{__package__}.{kind}_facts")
    return cast("Facts", found)


def fingerprints_class(kind: str) -> type[Fingerprints]:
    """How near-duplicates are found in a modality."""
    found: type[Fingerprints] = importlib.import_module(f"{__package__}.{kind}_fingerprints").Fingerprints
    return found


def preview_module(kind: str) -> Preview:
    """How reports show a modality."""
    found: Any = importlib.import_module(f"{__package__}.{kind}_preview")
    return cast("Preview", found)
