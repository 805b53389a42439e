"""What a training tells while it runs: `events.jsonl`, one JSON object a line, appended and never rewritten.

    start        steps, epochs, parameters, resumed_from (the checkpoint's step, 0 for a fresh start), precision,
                 precision_source (what decided it), product_rates (GFLOP/s, where a measurement decided it)
    step         step, epoch, loss, learning_rate, examples_per_second, seconds_left, memory_mb
    epoch        step, epoch; validation_loss and validation_METRIC for each metric when there are validation rows
    checkpoint   step, seconds
    damaged      step (of a checkpoint that was passed over)
    memory       parts, examples: it did not suffice, so batches are computed in that many parts of so many examples
    early_stop   step, epoch, best_step
    diverged     step, learning_rate, ids (first 16 hex digits of the id of each row of the batch)
    failed       exit_code, message, hint, code, overtaken (whether the data were replaced meanwhile)
    done         step, seconds, examples_per_second, parameters

Each also has `type` and `time` (Unix time in seconds). `loss` is the mean since the step event before, `seconds` wall
time. A resumed training appends to the same file, so steps after the last checkpoint may come twice. Of several
processes the first writes it; the others write `events-RANK.jsonl` beside it, deleted at the end, so that what only
they met is told.
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
    """What a `failed` event says of an error."""
    return {
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "code": error.code,
        "overtaken": isinstance(error, Overtaken),
    }


class EventLog:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        # A killed writer may leave half a line; what is appended after it must still be readable.
        if path.exists() and path.stat().st_size != _whole_bytes(path):
            os.truncate(path, _whole_bytes(path))
        self._stream = path.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event; a reader sees it at once."""
        self._stream.write(json.dumps({"type": kind, "time": time.time(), **fields}) + "\n")

    def close(self) -> None:
        self._stream.close()


class EventTail:
    """The reading end: whole lines as they appear, those that are there already left out."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, _whole_bytes(path) if path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Events that were appended since the last call."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                block = stream.read()
        except FileNotFoundError:
            return
        whole = block[: block.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)


def all_events(path: Path) -> Iterator[dict[str, Any]]:
    """What a training that is over has told."""
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _whole_bytes(path: Path) -> int:
    """The length of a file up to the end of its last whole line."""
    return path.read_bytes().rfind(b"\n") + 1
