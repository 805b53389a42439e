"""The input of the trainer program, one JSON file."""

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
    """One training: its data, model, settings and work folder."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    key: str
    dataset: Path
    """Folder with examples.parquet and dataset.json."""
    dataset_digest: str
    """Digest of that folder."""
    splits: Path
    """splits.npy: one int8 code per row of the examples."""
    decoded: Path
    """Folder of decoded sets."""
    decoded_key: str
    checkpoint: Path | None
    """Folder of the pretrained checkpoint; None to train from scratch."""
    model: ModelConfig
    objective: ObjectiveConfig
    train: TrainConfig
    hardware: Hardware
    work: Path
    """Folder of events.jsonl, checkpoints/ and model/; the next attempt continues there after a killed training."""
    parent: int
    """Id of the process with which this training ends; 0 for the process that starts it."""

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        write_json(path, TypeAdapter(Job).dump_python(self, mode="json"))

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job that `write` wrote."""
        return TypeAdapter(Job).validate_json(path.read_bytes(), strict=True)


def events_name(rank: int) -> str:
    """Return the name of the event file of a process."""
    return f"events-{rank}.jsonl" if rank else "events.jsonl"
