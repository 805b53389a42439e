"""Events of a training in `events.jsonl`, one JSON object per line, append-only.

    start        steps, epochs, parameters, resumed_from (the checkpoint's step, 0 for a fresh start), precision,
                 precision_source (what determined it), product_rates (GFLOP/s, if measured)
    step         step, epoch, loss, learning_rate, examples_per_second, seconds_left, memory_mb
    epoch        step, epoch; validation_loss and validation_METRIC for each metric when there are validation rows
    checkpoint   step, seconds
    damaged      step (of a checkpoint that was skipped)
    memory       parts, examples: after running out of memory, the number and size of micro-batches per batch
    early_stop   step, epoch, best_step
    diverged     step, learning_rate, ids (first 16 hex digits of the id of each row of the batch)
    failed       exit_code, message, hint, code, overtaken (whether the data changed during the training)
    done         step, seconds, examples_per_second, parameters

Each also has `type` and `time` (Unix time in seconds). `loss` is the mean since the previous step event, `seconds` wall
time. A resumed training appends to the same file, so steps after the last checkpoint may occur twice. Rank 0 writes it;
other ranks write `events-RANK.jsonl` beside it, deleted at the end, with errors that only they have.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from modelworks.errors import ModelworksError, Overtaken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EventLog", "EventTail", "all_events", "failure"]


def failure(error: ModelworksError) -> dict[str, Any]:
    """Return the fields of a `failed` event for an error."""
    return {
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "code": error.code,
        "overtaken": isinstance(error, Overtaken),
    }


class EventLog:
    """Append events to a file."""

    def __init__(self, path: Path) -> None:
        # Remove an incomplete line that a killed writer may leave, so that appended lines are valid.
        if path.exists() and path.stat().st_size != _complete_bytes(path):
            os.truncate(path, _complete_bytes(path))
        self._stream = path.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event and flush it."""
        self._stream.write(json.dumps({"type": kind, "time": time.time(), **fields}) + "\n")

    def close(self) -> None:
        self._stream.close()


class EventTail:
    """Read events as they are appended, without those that exist already."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, _complete_bytes(path) if path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield events that were appended since the last call."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                block = stream.read()
        except FileNotFoundError:
            return
        lines = block[: block.rfind(b"\n") + 1]
        self._position += len(lines)
        for line in lines.splitlines():
            yield json.loads(line)


def all_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all events of a finished training."""
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _complete_bytes(path: Path) -> int:
    """Return the size of a file up to the end of its last complete line."""
    return path.read_bytes().rfind(b"\n") + 1
