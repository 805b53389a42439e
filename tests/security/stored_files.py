"""Reads of every kind of stored file, for the flips."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelworks.errors import Corrupt
from modelworks.files.manifests import damage
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project


@dataclass(frozen=True)
class Kind:
    """One kind of stored file and the code that reads it."""

    name: str
    reaction: str
    """What the product does about a damaged file."""
    files: tuple[Path, ...]
    read: Callable[[Path], str]
    """Read the files, one of which is damaged, as the product does; return its message, "" for none."""
    names: str = "the file"
    """What the message names."""


def expected_name(kind: Kind, path: Path) -> str:
    """Return the name that the message must contain."""
    if kind.names == "the step":
        return path.parent.name
    if kind.names == "the data set":
        return f"data/{path.parent.name}"
    return path.name


def error_message(use: Callable[[], object]) -> str:
    try:
        use()
    except Corrupt as error:
        return error.message
    return ""


def checkpoint_reads(scratch: Path) -> tuple[tuple[Path, ...], Callable[[Path], str]]:
    """Save two checkpoints.

    Return the files of the newer one and a function that restores from them.
    """
    import torch

    from modelworks.training.checkpoint import Checkpoints, random_states
    from modelworks.training.distributed.context import World

    torch.manual_seed(0)
    network = torch.nn.Linear(8, 8)
    parts = {"model": network, "optimizer": torch.optim.AdamW(network.parameters()), **random_states(World())}
    folder, key = scratch / "training" / "checkpoints", "0" * 64
    for step in (10, 20):
        Checkpoints(folder, key).save(step, parts)
    original = scratch / "original"
    shutil.copytree(folder / "step-20", original)

    def restore(_: Path) -> str:
        skipped: list[str] = []
        step = Checkpoints(folder, key, skipped=lambda each: skipped.append(f"step-{each}")).restore(parts)
        shutil.rmtree(folder / "step-20", ignore_errors=True)
        shutil.copytree(original, folder / "step-20")
        return " ".join(skipped) if step == 10 else ""

    return files_below(folder / "step-20"), restore


def decoded_reads(project: Project, folder: Path) -> Callable[[Path], str]:
    """Return a function that runs the check which decides whether the rows are decoded again."""
    store = StageStore(project.state)
    return lambda _: damage(folder) if store.state("decoded", folder.name) == "damaged" else ""


@contextmanager
def log_messages() -> Iterator[list[str]]:
    """Yield a list of our log messages in the block."""
    messages: list[str] = []

    class ListHandler(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            messages.append(entry.getMessage())

    logger, handler = logging.getLogger("modelworks"), ListHandler()
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def files_below(folder: Path) -> tuple[Path, ...]:
    """Return the non-empty files below a folder."""
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
