"""The job: everything the trainer program is told, as one JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from modelworks.files.atomic_files import write_json
from modelworks.models.config import ModelConfig
from modelworks.objectives.config import ObjectiveConfig
from modelworks.training.config import TrainConfig
from modelworks.training.hardware import Hardware

__all__ = ["Job", "events_name"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training: what to learn from, what to train, how, and where to write."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    key: str
    dataset: Path
    """Folder with examples.parquet and dataset.json."""
    dataset_digest: str
    """Of that folder."""
    splits: Path
    """splits.npy: one int8 code per row of the examples."""
    decoded: Path
    """Folder that keeps decoded sets."""
    decoded_key: str
    checkpoint: Path | None
    """Folder of the pretrained checkpoint the weights start from."""
    model: ModelConfig
    objective: ObjectiveConfig
    train: TrainConfig
    hardware: Hardware
    work: Path
    """Where events.jsonl, checkpoints/ and finally model/ go; a killed training leaves them for the next attempt."""
    parent: int
    """The process this training belongs to: it ends when that one does. 0 for whichever starts it."""

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_json(path, TypeAdapter(Job).dump_python(self, mode="json"))

    @classmethod
    def read(cls, path: Path) -> Job:
        """Load what `write` saved."""
        return TypeAdapter(Job).validate_json(path.read_bytes(), strict=True)


def events_name(rank: int) -> str:
    """The file, in the work folder, for the events of one of a training's processes."""
    return f"events-{rank}.jsonl" if rank else "events.jsonl"
