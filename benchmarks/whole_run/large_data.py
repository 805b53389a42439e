"""Compare a run with nothing to do on a data set of 10 GB with one on 5,000 rows."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.measure import Comparison, alternately
from benchmarks.whole_run.first_and_second_run import SECOND_RUNS, first, nothing_to_do
from modelworks.files.digest import md5_digest
from modelworks.files.digest_memo import snapshot
from modelworks.project import Project

__all__ = ["measure"]

LARGE = 10 * 10**9
"""Size of the large data set in bytes."""


def measure(runs: int, folder: Path) -> list[Comparison]:
    """Time both.

    The large data set is a sparse file whose digest is in the memo, as after a run that read it.
    """
    small, large = folder / "small", folder / "large"
    for place in (small, large):
        first(place)
    (examples,) = (large / "data").glob("mnist5k/examples.parquet")
    digest = md5_digest(examples)
    os.truncate(examples, LARGE)
    os.utime(examples, (0, 0))
    Project(large).memo.remember({examples: (snapshot(examples), digest)}, "md5")
    programs = (lambda _: nothing_to_do(large), lambda _: nothing_to_do(small))
    large_seconds, small_seconds = alternately(max(runs, SECOND_RUNS), *programs)
    return [
        Comparison(
            name="nothing to do, data set of 10 GB",
            unit="s",
            ours=large_seconds,
            peer_name="5,000 rows",
            peer=small_seconds,
            target="<= 1.2",
        )
    ]
