"""`python key_differences.py`: compute the keys of a pipeline after each edit of a copy of the source.

Reads one JSON object from stdin: `source` (the copy's package folder), `project`, `config`, and `rows`, each with `edits`
(file, old text, new text; no old text appends), `set` (overrides), `data` (a digest, or none) and `path` (folders with
other libraries). Prints one JSON object per row: the key by name, of stages, pages and preprocessed rows.

Each row is a child process that imports the edited code. A stage with a new key gets the stored output of the first
row, so the keys of later stages are those after a rerun that gave the same bytes.
"""

from __future__ import annotations

import compileall
import dataclasses
import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

FIRST: dict[str, str] = {}
"""The keys of the first row."""


def keys(job: dict[str, Any], row: dict[str, Any]) -> dict[str, str]:
    """Return the keys by name."""
    from modelworks.config import run_config as configuration
    from modelworks.data import versioning
    from modelworks.pipeline.plan import STAGES, STORED, Plan
    from modelworks.pipeline.reports import REPORTS, find_report
    from modelworks.project import Project

    project = Project(Path(job["project"]))
    config = configuration.load(project.root / job["config"], row["set"])
    dataset = versioning.observe(project, config.source.dataset)
    plan = Plan(project, config, dataclasses.replace(dataset, digest=row["data"]) if row["data"] else dataset)
    found = {}
    for name in STORED:
        stage = plan.stage(name)
        found[name] = stage.key
        if FIRST and stage.key != FIRST[name]:
            with plan.store.write(name, stage.key, stage.ingredients) as folder:
                before = plan.store.folder(name, FIRST[name])
                shutil.copytree(before, folder, dirs_exist_ok=True)
                (folder / "manifest.json").unlink()
    found |= {name: plan.stage(name).key for name in STAGES if name in ("register", "gate")}
    found |= {name: page.key for name in REPORTS if (page := find_report(plan, name)) is not None}
    return {**found, "preprocess": plan.preprocessed_key}


def edited(folder: Path, file: str, old: str, new: str) -> None:
    """Edit a file of the copy, or all files for "*"; create a file that does not exist."""
    for path in sorted(folder.rglob("*.py")) if file == "*" else [folder / file]:
        text = path.read_text() if path.exists() else ""
        assert old in text, f"{file} does not contain {old!r}"
        path.write_text(text.replace(old, new, 1) if old else text + new)


def main() -> None:
    """Compute and print the keys of each row."""
    job = json.load(sys.stdin)
    source = Path(job["source"])
    sys.path.insert(0, str(source.parent))
    # Checked by the content of the source: times do not tell an edit from its reversal.
    compileall.compile_dir(source, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    for name in ("pydantic", "grimp", "numpy", "ruamel.yaml", "sqlite3"):  # once, instead of in each child
        importlib.import_module(name)
    for row in job["rows"]:
        original = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
        for edit in row["edits"]:
            edited(source, *edit)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            sys.path[:0] = row["path"]
            os.write(writing, json.dumps(keys(job, row)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            answer = stream.read()
        assert os.waitpid(child, 0)[1] == 0, row
        print(answer, flush=True)
        if not FIRST:
            FIRST.update(json.loads(answer))
        for path in source.rglob("*"):
            if path.is_file() and path not in original:
                path.unlink()
        for path, content in original.items():
            if path.read_bytes() != content:
                path.write_bytes(content)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
