"""The job: everything the trainer program is told, as one JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelworks.atomic_files import write_json
from modelworks.bounds import kinds
from modelworks.models.config import ModelConfig
from modelworks.training.config import AugmentConfig, TrainConfig
from modelworks.training.hardware import Hardware

__all__ = ["Job", "events_name"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training: what to learn from, what to train, how, and where to write."""

    key: str
    dataset: Path
    """Folder with examples.parquet and dataset.json."""
    dataset_digest: str
    """Of that folder."""
    splits: Path
    """splits.npy: one int8 code per row of the examples."""
    classes: tuple[str, ...]
    decoded: Path
    """Folder that keeps decoded sets."""
    decoded_key: str
    checkpoint: Path | None
    """Folder of the pretrained checkpoint the weights start from."""
    model: ModelConfig
    train: TrainConfig
    hardware: Hardware
    work: Path
    """Where events.jsonl, checkpoints/ and finally model/ go; a killed training leaves them for the next attempt."""
    parent: int
    """The process this training belongs to: it ends when that one does. 0 for whichever starts it."""

    def write(self, path: Path) -> None:
        """Save as JSON."""
        values = {item.name: _plain(getattr(self, item.name)) for item in dataclasses.fields(self)}
        write_json(path, values)

    @classmethod
    def read(cls, path: Path) -> Job:
        """Load what `write` saved."""
        values = json.loads(path.read_text())
        checkpoint = values.pop("checkpoint")
        model, train = values.pop("model"), values.pop("train")
        return cls(
            dataset=Path(values.pop("dataset")),
            splits=Path(values.pop("splits")),
            decoded=Path(values.pop("decoded")),
            work=Path(values.pop("work")),
            checkpoint=Path(checkpoint) if checkpoint else None,
            classes=tuple(values.pop("classes")),
            model=kinds(ModelConfig)[model["kind"]](**model),
            train=TrainConfig(**{**train, "augment": AugmentConfig(**train["augment"])}),
            hardware=Hardware(**values.pop("hardware")),
            **values,
        )


def events_name(rank: int) -> str:
    """The file, in the work folder, for the events of one of a training's processes."""
    return f"events-{rank}.jsonl" if rank else "events.jsonl"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value) if isinstance(value, Path) else value
