"""The mutation table: the keys that an edit of code, config, data or libraries changes.

Each row has an edit and the keys that it changes if every stage that runs again gives the same bytes: stages, pages
(data_docs, evaluation_page, gate_page) and the preprocessed rows. A stage whose inputs differ has another key too; the
last tests show that with real runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samples.mutation_table import TABLE, UNUSED, Row

import modelworks
from modelworks.pipeline.plan import STAGES

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
PARTS = 4
"""The table is divided into tests of about 20 s; each has edits of every kind, and all but the first are slow."""


def keys_after_edits(folder: Path, digits: Path, table: Sequence[Row]) -> list[dict[str, str]]:
    """Return the keys by name: first without an edit, then for each row of the table."""
    shutil.copytree(digits, folder / "project")
    source = folder / "src" / "modelworks"
    shutil.copytree(Path(modelworks.__path__[0]), source, ignore=shutil.ignore_patterns("__pycache__"))
    rows: list[dict[str, Any]] = []
    for row in (Row("nothing", ""), *table):
        path = []
        if row.library:
            place = folder / row.library
            place.mkdir()
            (place / f"{row.library.replace('-', '_')}-99.0.dist-info").mkdir()
            metadata = f"Metadata-Version: 2.1\nName: {row.library}\nVersion: 99.0\n"
            (place / f"{row.library.replace('-', '_')}-99.0.dist-info" / "METADATA").write_text(metadata)
            path = [str(place)]
        rows.append({"edits": row.edits, "set": row.set, "data": row.data, "path": path})
    job = {"source": str(source), "project": str(folder / "project"), "config": DIGITS, "rows": rows}
    program = Path(__file__).parents[2] / "programs" / "key_differences.py"
    done = subprocess.run(
        [sys.executable, "-P", str(program)],
        input=json.dumps(job),
        env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("part", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in range(1, PARTS))])
def test_each_edit_changes_exactly_the_expected_keys(
    tmp_path: Path, digits: Path, subtests: pytest.Subtests, part: int
) -> None:
    table = TABLE[part::PARTS]
    before, *found = keys_after_edits(tmp_path, digits, table)
    for row, after in zip(table, found, strict=True):
        with subtests.test(row.edit):
            assert {name for name in before if before[name] != after[name]} == {*row.changes.split()}


def test_table_has_at_least_40_unique_edits() -> None:
    assert len(TABLE) >= 40
    assert len({row.edit for row in TABLE}) == len(TABLE)
    assert 0 < sum(row.may_register for row in TABLE) < len(TABLE)


@pytest.mark.slow
def test_unused_constant_reruns_training_and_registers_nothing(own_code: tuple[Workspace, Path]) -> None:
    workspace, package = own_code
    loop = package / "training" / "loop.py"
    loop.write_text(loop.read_text() + UNUSED)
    summary = workspace.done("run", DIGITS)
    assert summary["stages"] == {"ingest": "verified", **dict.fromkeys(STAGES[1:], "cached"), "train": "ran"}
    assert workspace.registered() == {"digits-cnn": [1]}
    assert workspace.done("why", DIGITS)["nothing_to_do"]


@pytest.mark.slow
def test_changed_check_reruns_only_validation(after_digits: Workspace) -> None:
    changes = ("--set", "checks.min_rows=900", "--set", "train.checkpoint_seconds=60")
    summary = after_digits.done("run", DIGITS, *changes)
    assert summary["stages"] == {"ingest": "verified", **dict.fromkeys(STAGES[1:], "cached"), "validate": "ran"}
    assert after_digits.registered() == {"digits-cnn": [1]}


@pytest.mark.slow
def test_changed_colour_renders_the_pages_of_the_version_again(own_code: tuple[Workspace, Path]) -> None:
    workspace, package = own_code
    frame = package / "html_page.py"
    frame.write_text(frame.read_text().replace("#1f2933", "#010203"))
    why = workspace.done("why", DIGITS)
    assert (any(why["stages"].values()), why["nothing_to_do"]) == (False, False)
    assert why["reports"] == {
        "data_docs": ["source of modelworks.html_page changed"],
        "evaluation_page": ["source of modelworks.html_page changed"],
        "gate_page": ["source of modelworks.html_page changed"],
    }
    runs = len(workspace.runs("digits-cnn"))
    assert workspace.with_environment(MODELWORKS_FAULT="page.before_note").run("run", DIGITS).code == -9
    assert workspace.done("why", DIGITS)["reports"]["gate_page"]
    assert workspace.with_environment(MODELWORKS_FAULT="page.after_note").run("run", DIGITS).code == -9
    frame.write_text(frame.read_text().replace("max-width: 62rem", "max-width: 60rem"))
    summary = workspace.done("run", DIGITS)
    assert {*summary["stages"].values()} == {"verified", "cached"}
    assert len(workspace.runs("digits-cnn")) == runs
    for page in ("evaluation/report.html", "verdict/verdict.html"):
        text = Path(workspace.client.download_artifacts(summary["mlflow_run_id"], page)).read_text()
        assert "#010203" in text, page
    assert workspace.done("why", DIGITS)["nothing_to_do"]


@pytest.mark.slow
def test_failing_page_is_reported_and_the_run_continues(own_code: tuple[Workspace, Path]) -> None:
    workspace, package = own_code
    page = package / "evaluation" / "reports" / "evaluation_page.py"
    page.write_text(page.read_text().replace('BODY = """\\', 'BODY = """{{ nothing.at.all }}'))
    outcome = workspace.run("run", DIGITS)
    assert outcome.code == 0, outcome.stderr
    assert "evaluation page: could not be rendered: UndefinedError" in outcome.stderr
    assert workspace.done("why", DIGITS)["reports"]["evaluation_page"]
