"""Run only the loop of `plain.py`: `python -m benchmarks.whole_run.bare SEED PRECISION` prints examples per second."""

from __future__ import annotations

import sys

from benchmarks.whole_run.plain import PARAMETERS, load, split, train

if __name__ == "__main__":
    rows, validation, *_ = split(*load(), seed=int(sys.argv[1]))
    trained = train(
        rows, validation, int(PARAMETERS["epochs"]), int(PARAMETERS["batch_size"]), int(sys.argv[1]), sys.argv[2]
    )
    print(trained.examples_per_second)
