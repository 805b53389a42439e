"""One step as a stage of dvc.yaml: `python dvc_stage.py STEP`.

Results are passed as pickle files.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import steps

INPUTS = {
    "load": (),
    "check": ("load",),
    "train": ("check",),
    "score": ("train", "check"),
    "register": ("train", "score"),
}


def read(name: str) -> Any:
    return pickle.loads(Path(f"{name}.pkl").read_bytes())


if __name__ == "__main__":
    step = sys.argv[1]
    result = getattr(steps, step)(*map(read, INPUTS[step]))
    Path(f"{step}.pkl").write_bytes(pickle.dumps(result))
