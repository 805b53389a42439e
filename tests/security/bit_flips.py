"""Flip bits in every kind of stored file and check that each flip is found before the file is used.

    python tests/security/bit_flips.py [FLIPS] [SEED]

prints a table; `make bit-flips` does 1,000. The flips must be found by the code that normally reads the files. A flip
counts as found if an error or a log message names the file and nothing was loaded.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from samples.artifacts import local_path
from security.stored_files import (
    Kind,
    checkpoint_reads,
    decoded_reads,
    error_message,
    expected_name,
    files_below,
    log_messages,
)

from modelworks.config import run_config as configuration
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.ingest import reason_to_work
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


@dataclass
class Result:
    """The result of the flips in one kind."""

    kind: Kind
    flips: int = 0
    found: int = 0
    missed: list[str] = field(default_factory=list)


def kinds(project: Project, client: MlflowClient, scratch: Path) -> list[Kind]:
    """Return all kinds of stored files of a project where the digits were registered."""
    version = registered.get(client, NAME, 1)
    store = StageStore(project.stages)
    stages = {path.name: next(path.glob("[!.]*")) for path in project.stages.glob("[!.]*")}
    run = local_path(client.get_run(version.run_id).info.artifact_uri)
    stored = local_path(client.get_model_version(NAME, "1").source)
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
        return error_message(lambda: inference.load(stages["train"] / "model"))

    def fresh(_: Path) -> str:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            return error_message(lambda: verify_version.fetch(client, version, Path(name)))

    def again(path: Path) -> str:
        with log_messages() as messages:
            verify_version.model_folder(client, project, NAME, 1)
        return " ".join(messages) if path.is_file() else ""

    def recorded(_: Path) -> str:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            return error_message(lambda: provenance_record.read_all(client, version, Path(name)))

    def dataset(_: Path) -> str:
        return reason_to_work(project, config.source) or ""

    def object_in(folder: Path) -> Callable[[Path], str]:
        return lambda _: " ".join(str(each) for each in object_cache.damaged(folder, pin))

    checkpoint, restore = checkpoint_reads(scratch)
    lineage_files = [
        run / provenance_record.FOLDER / each
        for each in (provenance_record.RECORD, provenance_record.TRAINING_IDS, provenance_record.PREDICTIONS)
    ]
    return [
        Kind("package in the artifact store", "exit 5", files_below(stored), fresh),
        Kind("listing and golden predictions", "exit 5", files_below(run / integrity.EVIDENCE), fresh),
        Kind("record of a version", "exit 5", tuple(lineage_files), recorded),
        Kind("version fetched before", "reported, fetched again", files_below(fetched), again),
        Kind("saved model of a stage", "exit 5; run makes it again", files_below(stages["train"] / "model"), model),
        *(
            Kind(f"output of {name}", "reported, made again", files_below(stages[name]), stage(name))
            for name in ("validate", "train", "score")
        ),
        Kind("decoded arrays", "reported, decoded again", files_below(decoded), decoded_reads(project, decoded)),
        Kind("checkpoint of a training", "reported, an older one is used", checkpoint, restore, "the step"),
        Kind("data set", "reported, restored or exit 5", files_below(project.data), dataset, "the data set"),
        Kind("object in DVC's cache", "deleted, fetched again", files_below(cache), object_in(cache), "the object"),
        Kind("object in DVC's remote", "exit 5", files_below(remote), object_in(remote), "the object"),
    ]


def flip_bits(kind: Kind, flips: int, draw: random.Random) -> Result:
    """Flip one bit at a time in a random file, read it, and restore the file."""
    result = Result(kind)
    for _ in range(flips):
        path = draw.choice(kind.files)
        before = path.read_bytes()
        bit = draw.randrange(len(before) * 8)
        changed = bytearray(before)
        changed[bit // 8] ^= 1 << bit % 8
        path.chmod(0o644)  # DVC's objects are read-only
        path.write_bytes(changed)
        try:
            message = kind.read(path)
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before)
        result.flips += 1
        if expected_name(kind, path) in message:
            result.found += 1
        else:
            result.missed.append(f"{path} bit {bit}: {message or 'no message'}")
    return result


def table(results: list[Result]) -> str:
    """Return the results as a text table."""
    heading = f"{'stored files':<32} {'files':>5} {'kB':>8} {'flips':>6} {'found':>6} {'used':>5}  reaction"
    lines = [heading, "-" * len(heading)]
    for each in results:
        size = sum(path.stat().st_size for path in each.kind.files) / 1000
        lines.append(
            f"{each.kind.name:<32} {len(each.kind.files):>5} {size:>8,.0f} {each.flips:>6} {each.found:>6} "
            f"{each.flips - each.found:>5}  {each.kind.reaction}; names {each.kind.names}"
        )
    flips, found = sum(each.flips for each in results), sum(each.found for each in results)
    lines.append(f"{'all':<32} {'':>5} {'':>8} {flips:>6} {found:>6} {flips - found:>5}")
    return "\n".join([*lines, *(miss for each in results for miss in each.missed)])


def make_project(root: Path) -> Project:
    """Create a project and run the digits by the command line."""
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    command = [str(Path(sys.executable).with_name("modelworks")), "run", CONFIG]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    return Project(root)


def main() -> int:
    """Flip bits and print the table; return 1 if a flip was missed."""
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
        shares = [flips // len(chosen) + (index < flips % len(chosen)) for index in range(len(chosen))]
        results = [flip_bits(kind, share, draw) for kind, share in zip(chosen, shares, strict=True)]
        print(table(results))
        print(f"seed {seed}, {time.monotonic() - started:.0f} s")
    return 1 if any(each.missed for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
