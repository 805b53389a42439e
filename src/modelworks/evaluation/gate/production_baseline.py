"""The other side of the comparison: what the model in production says of the candidate's test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from modelworks.records import Evaluation

__all__ = ["Baseline", "score_baseline", "trained_on"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A version to compare the candidate with."""

    version: int
    modality: str
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    """(rows, classes) for the candidate's test rows, in their order; no rows when its classes or its modality are not
    the candidate's, so that it cannot answer them."""
    trained_on: tuple[str, ...]
    """Ids of the candidate's test rows that it was trained on."""

    @property
    def predicted(self) -> npt.NDArray[np.int16]:
        """Index of the class it gives each row."""
        classes: npt.NDArray[np.int16] = self.probabilities.argmax(axis=1).astype("int16")
        return classes


def score_baseline(version: int, model_folder: Path, evaluation: Evaluation) -> Baseline:
    """Ask a saved model about the test rows of a candidate's evaluation.

    Raises:
        Corrupt: the model is damaged.
        Refused: its answers are not finite numbers.
    """
    import numpy as np

    from modelworks.evaluation import inference

    dataset = evaluation.trained.report.dataset
    rows = inference.held_out(evaluation.trained.report)
    model = inference.load(model_folder)
    answers = model.modality == dataset.modality and model.labels == dataset.classes
    return Baseline(
        version=version,
        modality=model.modality,
        classes=model.labels,
        probabilities=(
            inference.probabilities(model, rows) if answers else np.empty((0, len(model.labels)), dtype=np.float32)
        ),
        trained_on=trained_on(model_folder, rows.ids),
    )


def trained_on(model_folder: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Those of some rows, by id, that a saved model was trained on.

    A model keeps the first 64 bits of each training row's id: among a million training rows and ten thousand others
    the chance of one false alarm is below one in a billion.

    Raises:
        Corrupt: the model does not say what it was trained on.
    """
    import numpy as np

    path = model_folder / "training_ids.npy"
    try:
        known = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}",
            "without it nobody can tell whether the model was tested on its own lessons",
        ) from error
    asked = np.frombuffer(b"".join(bytes.fromhex(each[:16]) for each in ids), dtype=">u8").astype(np.uint64)
    return tuple(each for each, seen in zip(ids, np.isin(asked, known), strict=True) if seen)
