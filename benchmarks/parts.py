"""The benchmarks by name, with their requirements and functions."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import needs
from benchmarks.needs import Need
from benchmarks.report import Table
from modelworks.errors import BadInput

__all__ = ["PARTS", "Part", "chosen"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One benchmark, independent of the others."""

    name: str
    title: str
    function: str
    """`module:function` below `benchmarks`; imported when it runs, so that an error in one part stops no other."""
    needs: tuple[Need, ...] = ()
    has_small_size: bool = False
    """Whether the function takes `small`."""
    on_gpu: bool = False
    """Whether it runs only if it is named."""

    def missing(self) -> list[str]:
        """Return the missing requirements, each with a hint how to get it."""
        found = []
        for need in self.needs:
            try:
                need()
            except BadInput as error:
                found.append(f"{error.message}: {error.hint}")
        return found

    def measure(self, runs: int, folder: Path, *, small: bool) -> Table:
        """Measure in a new folder."""
        module, function = self.function.split(":")
        folder.mkdir()
        options = {"small": small} if self.has_small_size else {}
        found = getattr(importlib.import_module(f"benchmarks.{module}"), function)(runs, folder, **options)
        return found if isinstance(found, Table) else Table.of(found)


PEERS = tuple(needs.package(name) for name in ("accelerate", "lightning"))

PARTS = (
    Part(name="help", title="`modelworks --help` against importing typer", function="whole_run.startup:measure"),
    Part(name="gate", title="the gate's bootstrap against a NumPy script", function="gate:measure"),
    Part(
        name="first-run",
        title="a first run, from empty stores to production, against a plain script",
        function="whole_run.first_and_second_run:first_run",
        needs=(needs.mnist5k,),
    ),
    Part(
        name="first-run-division",
        title="where the seconds of a first run go",
        function="whole_run.division:measure",
        needs=(needs.mnist5k,),
    ),
    Part(
        name="second-run",
        title="a run with nothing to do against `dvc repro`",
        function="whole_run.first_and_second_run:second_run",
        needs=(needs.mnist5k,),
    ),
    Part(
        name="second-run-large",
        title="a run with nothing to do on a data set of 10 GB against one on 5,000 rows",
        function="whole_run.large_data:measure",
        needs=(needs.mnist5k,),
    ),
    Part(
        name="throughput",
        title="training inside the pipeline against a bare loop",
        function="whole_run.throughput:measure",
        needs=(needs.mnist5k,),
    ),
    Part(
        name="recovery",
        title="what is redone after kill -9, when nothing changed, after an edit of a helper",
        function="recovery.compare:measure",
        needs=(needs.digits,),
        has_small_size=True,
    ),
    Part(
        name="training-cnn",
        title="the two-conv CNN on Fashion-MNIST against HF Trainer, Lightning, accelerate and a bare loop",
        function="training:pictures",
        needs=(*PEERS, needs.fashion),
        has_small_size=True,
    ),
    Part(
        name="training-text",
        title="MiniLM on tweets against the same",
        function="training:texts",
        needs=(*PEERS, needs.tweets, needs.minilm),
        has_small_size=True,
    ),
    Part(
        name="training-start",
        title="the first step of a training against importing torch",
        function="training_start:first_step",
        needs=(needs.fashion,),
    ),
    Part(
        name="training-memory",
        title="peak memory of ten times the images",
        function="training_start:memory",
        has_small_size=True,
    ),
    Part(
        name="cuda-cnn",
        title="the CNN at 32x32x3 on a GPU",
        function="training_cuda:cnn",
        needs=(needs.gpu,),
        has_small_size=True,
        on_gpu=True,
    ),
    Part(
        name="cuda-bert",
        title="a BERT of 110 M on a GPU",
        function="training_cuda:transformer",
        needs=(needs.gpu,),
        has_small_size=True,
        on_gpu=True,
    ),
)


def chosen(names: Sequence[str]) -> list[Part]:
    """Return the named parts.

    A name like `training` selects all parts whose name starts with `training-`.

    Without names, all parts that need no GPU.

    Raises:
        BadInput: the part does not exist.
    """
    if not names:
        return [part for part in PARTS if not part.on_gpu]
    found = {name: [part for part in PARTS if part.name == name] or _with_prefix(name) for name in names}
    unknown = [name for name, parts in found.items() if not parts]
    if unknown:
        raise BadInput(f"unknown benchmark: {', '.join(unknown)}", "run `python -m benchmarks --list` to list them")
    return [part for part in PARTS if any(part in parts for parts in found.values())]


def _with_prefix(name: str) -> list[Part]:
    return [part for part in PARTS if part.name.startswith(f"{name}-")]
