"""Data sets with a pin, for tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelworks.data.sources import Digits, Table
from modelworks.project import Project

DIGITS = Digits(kind="digits")
REVIEWS = Table(kind="table", path="reviews.csv", text="text", label="label")


def write_reviews(root: Path, rows: int = 20) -> None:
    lines = [f"review number {row},{'good' if row % 2 else 'bad'}" for row in range(rows)]
    (root / "reviews.csv").write_text("\n".join(["text,label", *lines]) + "\n")


def remote(project: Project) -> Path:
    return project.state / "dvc-remote"


def dvc(root: Path, *arguments: str) -> str:
    program = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(program, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout
