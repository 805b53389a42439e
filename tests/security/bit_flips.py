"""Flip bits in every kind of stored bytes and see that each flip is found before anything of it is used.

    python tests/security/bit_flips.py [FLIPS] [SEED]

prints a table; `make bit-flips` does 1,000. What is asked is the code that reads those bytes in earnest: no check of
this file's own. A flip counts as found when an error or a word names the file, and nothing was loaded.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.config import run_config as configuration
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.ingest import reason_to_work
from modelworks.errors import Corrupt
from modelworks.evaluation import inference
from modelworks.files.manifests import damage
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.registry.packaging import integrity
from modelworks.registry.verification import verify_version
from modelworks.registry.versions import provenance_record
from modelworks.registry.versions import queries as registered
from modelworks.settings import QUIET

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Kind", "Result", "flip_bits", "kinds", "make_project", "table"]

NAME = "digits-cnn"
CONFIG = "configs/digits_cnn.yaml"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kind:
    """Bytes of one kind, and what is said of them when they are asked for."""

    name: str
    then: str
    """What follows from the finding."""
    files: tuple[Path, ...]
    ask: Callable[[Path], str]
    """Use the bytes as the product does, one file of them damaged; returns what is said, "" when nothing is."""
    names: str = "the file"
    """What the word names."""


@dataclass
class Result:
    """What became of the flips in one kind."""

    kind: Kind
    flips: int = 0
    found: int = 0
    missed: list[str] = field(default_factory=list)


def kinds(project: Project, client: MlflowClient, scratch: Path) -> list[Kind]:
    """All stored bytes of a project in which the digits were registered."""
    version = registered.get(client, NAME, 1)
    store = StageStore(project.stages)
    stages = {path.name: next(path.glob("[!.]*")) for path in project.stages.glob("[!.]*")}
    run = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    stored = Path(str(client.get_model_version(NAME, "1").source).removeprefix("file://"))
    fetched = verify_version.package_folder(client, project, NAME, 1).parent
    config = configuration.load(project.root / CONFIG)
    pin = dvc_file.read(project)
    assert pin is not None
    cache = project.root / ".dvc" / "cache" / "files" / "md5"
    remote = project.state / "dvc-remote" / "files" / "md5"
    decoded = next((project.state / "decoded").glob("[!.]*"))

    def stage(name: str) -> Callable[[Path], str]:
        folder = stages[name]
        return lambda _: damage(folder) if store.state(name, folder.name) == "damaged" else ""

    def model(_: Path) -> str:
        return _refusal(lambda: inference.load(stages["train"] / "model"))

    def fresh(_: Path) -> str:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            return _refusal(lambda: verify_version.fetch(client, version, Path(name)))

    def again(path: Path) -> str:
        with _words() as said:
            verify_version.model_folder(client, project, NAME, 1)
        return " ".join(said) if path.is_file() else ""

    def recorded(_: Path) -> str:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            return _refusal(lambda: provenance_record.read_all(client, version, Path(name)))

    def dataset(_: Path) -> str:
        return reason_to_work(project, config.source) or ""

    def object_in(folder: Path) -> Callable[[Path], str]:
        return lambda _: " ".join(str(each) for each in object_cache.damaged(folder, pin))

    checkpoint, restore = _checkpoints(scratch)
    lineage_files = [
        run / provenance_record.FOLDER / each
        for each in (provenance_record.RECORD, provenance_record.TRAINING_IDS, provenance_record.PREDICTIONS)
    ]
    return [
        Kind("package in the artifact store", "exit 5", _files(stored), fresh),
        Kind("listing and probe of a version", "exit 5", _files(run / integrity.EVIDENCE), fresh),
        Kind("record of a version", "exit 5", tuple(lineage_files), recorded),
        Kind("version fetched before", "said, fetched again", _files(fetched), again),
        Kind("saved model of a stage", "exit 5; run makes it again", _files(stages["train"] / "model"), model),
        *(
            Kind(f"output of {name}", "said, made again", _files(stages[name]), stage(name))
            for name in ("validate", "train", "score")
        ),
        Kind("decoded arrays", "said, decoded again", _files(decoded), _decoded(project, decoded)),
        Kind("checkpoint of a training", "said, an older one is used", checkpoint, restore, "the step"),
        Kind("data set", "said, restored or exit 5", _files(project.data), dataset, "the data set"),
        Kind("object in DVC's cache", "dropped, fetched again", _files(cache), object_in(cache), "the object"),
        Kind("object in DVC's remote", "exit 5", _files(remote), object_in(remote), "the object"),
    ]


def flip_bits(kind: Kind, flips: int, draw: random.Random) -> Result:
    """Flip one bit at a time, each in a file drawn at random, and put it back."""
    result = Result(kind)
    for _ in range(flips):
        path = draw.choice(kind.files)
        before = path.read_bytes()
        place = draw.randrange(len(before) * 8)
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        path.chmod(0o644)  # DVC's objects are read-only
        path.write_bytes(changed)
        try:
            said = kind.ask(path)
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before)
        result.flips += 1
        if _named(kind, path) in said:
            result.found += 1
        else:
            result.missed.append(f"{path} bit {place}: {said or 'nothing was said'}")
    return result


def table(results: list[Result]) -> str:
    """For people."""
    head = f"{'stored bytes':<32} {'files':>5} {'kB':>8} {'flips':>6} {'found':>6} {'used':>5}  then"
    lines = [head, "-" * len(head)]
    for each in results:
        size = sum(path.stat().st_size for path in each.kind.files) / 1000
        lines.append(
            f"{each.kind.name:<32} {len(each.kind.files):>5} {size:>8,.0f} {each.flips:>6} {each.found:>6} "
            f"{each.flips - each.found:>5}  {each.kind.then}, by the name of {each.kind.names}"
        )
    flips, found = sum(each.flips for each in results), sum(each.found for each in results)
    lines.append(f"{'all':<32} {'':>5} {'':>8} {flips:>6} {found:>6} {flips - found:>5}")
    return "\n".join([*lines, *(miss for each in results for miss in each.missed)])


def make_project(root: Path) -> Project:
    """The digits, from nothing to production, by the command line."""
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    command = [str(Path(sys.executable).with_name("modelworks")), "run", CONFIG]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    return Project(root)


def _named(kind: Kind, path: Path) -> str:
    """What the word must hold: the file's name, or of what is used whole the name of the whole."""
    if kind.names == "the step":
        return path.parent.name
    if kind.names == "the data set":
        return f"data/{path.parent.name}"
    return path.name


def _refusal(use: Callable[[], object]) -> str:
    try:
        use()
    except Corrupt as error:
        return error.message
    return ""


def _checkpoints(scratch: Path) -> tuple[tuple[Path, ...], Callable[[Path], str]]:
    """Two checkpoints of a small training; whoever restores finds the newer one damaged, and uses the older."""
    import torch

    from modelworks.training.checkpoint import Checkpoints, random_states
    from modelworks.training.distributed.context import World

    torch.manual_seed(0)
    network = torch.nn.Linear(8, 8)
    parts = {"model": network, "optimizer": torch.optim.AdamW(network.parameters()), **random_states(World())}
    folder, key = scratch / "training" / "checkpoints", "0" * 64
    for step in (10, 20):
        Checkpoints(folder, key).save(step, parts)
    pristine = scratch / "pristine"
    shutil.copytree(folder / "step-20", pristine)

    def restore(_: Path) -> str:
        said: list[str] = []
        step = Checkpoints(folder, key, skipped=lambda each: said.append(f"step-{each}")).restore(parts)
        shutil.rmtree(folder / "step-20", ignore_errors=True)
        shutil.copytree(pristine, folder / "step-20")
        return " ".join(said) if step == 10 else ""

    return _files(folder / "step-20"), restore


def _decoded(project: Project, folder: Path) -> Callable[[Path], str]:
    """Asked for in earnest, the rows would be decoded again: this asks what that goes by."""
    store = StageStore(project.state)
    return lambda _: damage(folder) if store.state("decoded", folder.name) == "damaged" else ""


@contextmanager
def _words() -> Iterator[list[str]]:
    """What our code says meanwhile."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            said.append(entry.getMessage())

    logger, handler = logging.getLogger("modelworks"), Keep()
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def _files(folder: Path) -> tuple[Path, ...]:
    """Those with bytes in them; what other processes hold is not stored."""
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)


def main() -> int:
    """Flip, print, and fail if one was missed."""
    flips = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    os.environ |= QUIET
    from modelworks.registry.backend.tracking_store import connect

    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name) / "project")
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        chosen = kinds(project, connect(project), scratch)
        draw, started = random.Random(seed), time.monotonic()
        shares = [flips // len(chosen) + (place < flips % len(chosen)) for place in range(len(chosen))]
        results = [flip_bits(kind, share, draw) for kind, share in zip(chosen, shares, strict=True)]
        print(table(results))
        print(f"seed {seed}, {time.monotonic() - started:.0f} s")
    return 1 if any(each.missed for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
