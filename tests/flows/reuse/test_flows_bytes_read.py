"""Count with strace how often the processes of a run read the data and the weights."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
FOOTER = 65_536
"""Number of bytes at the end of a Parquet file that are read each time it is opened."""

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

READ = re.compile(r"\w+\((?P<arguments>.*)\)\s+= (?P<bytes>\d+)")
CALLS = "read,pread64,readv,preadv,sendfile,copy_file_range"


class Reads:
    """Number of bytes read per file, by kind of system call."""

    def __init__(self, trace: Path) -> None:
        self.hashed: Counter[str] = Counter()
        self.copied: Counter[str] = Counter()
        for line in trace.read_text(errors="replace").splitlines():
            found = READ.search(line)
            if found is None or not int(found["bytes"]):
                continue
            (*_, path) = [*re.findall(r"\d+<([^>]*)>", found["arguments"])][:2] or [""]
            copying = "sendfile(" in line or "copy_file_range(" in line
            if "copy_file_range(" in line:
                path = re.findall(r"\d+<([^>]*)>", found["arguments"])[0]
            (self.copied if copying else self.hashed)[path] += int(found["bytes"])

    def times(self, counted: Counter[str], name: str, size: int, below: str = "") -> float:
        """Return how often a file of that size was read completely, in any folder."""
        return sum(read for path, read in counted.items() if path.endswith(name) and below in path) / size


@pytest.fixture
def counted(tmp_path: Path) -> Callable[..., Reads]:
    """Return a function that runs a command under strace and counts."""

    def run(workspace: Workspace, *arguments: str) -> Reads:
        trace = tmp_path / "trace"
        # With --seccomp-bpf only these calls stop the program, so it is hardly slower than without strace.
        strace = ("strace", "-f", "--seccomp-bpf", "-y", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace))
        outcome = replace(workspace, prefix=strace).run(*arguments)
        assert outcome.code == 0, outcome.stderr
        return Reads(trace)

    return run


@pytest.mark.slow
def test_first_run_reads_data_and_weights_a_limited_number_of_times(
    workspace: Workspace, counted: Callable[..., Reads]
) -> None:
    found = counted(workspace, "run", DIGITS)
    data = (workspace.root / "data" / "digits" / "examples.parquet").stat().st_size
    # DVC hashes and copies the file; validation and the trainer read it.
    assert found.times(found.hashed, "examples.parquet", data) <= 3 + 2 * FOOTER / data
    assert found.times(found.copied, "examples.parquet", data) <= 1
    weights = next((workspace.stage_folder("train") / "model").glob("*.safetensors")).stat().st_size
    # When saved, at promotion, and in the isolated process.
    assert found.times(found.hashed, "model.safetensors", weights) <= 3
    # To the artifact store, and from it for the promotion.
    assert found.times(found.copied, "model.safetensors", weights) <= 2


def test_run_with_nothing_to_do_reads_neither_data_nor_weights(
    after_digits: Workspace, counted: Callable[..., Reads]
) -> None:
    after_digits.done("run", DIGITS)  # reads and remembers the files of this copy of the project
    found = counted(after_digits, "run", DIGITS)
    for name in ("examples.parquet", "model.safetensors", "predictions.parquet", "splits.npy"):
        assert found.times(found.hashed + found.copied, name, 1) == 0, name
