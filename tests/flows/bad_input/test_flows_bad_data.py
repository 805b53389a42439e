"""Bad data is reported with its location before training.

Registered versions and production do not change.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

CONFIG = """\
name: digits-cnn                # the production model
source: {kind: %s}
model: {kind: %s}
train: {epochs: 1}
gate: {minimums: {accuracy: 0.5}}
"""
FOLDER = CONFIG % ("folder, path: own", "cnn, size: 8")
TABLE = CONFIG % ("table, path: own.csv, text: words, label: opinion", "transformer")
SLICED = TABLE.replace("gate: {", "gate: {slices: {by: [label, shop], minimum: 0.1}, ")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size=(8, 8, 3), dtype=np.uint8)).save(path)


def pictures(folder: Path, classes: str = "ab", count: int = 20, seed: int = 0) -> None:
    for place, name in enumerate(classes):
        for number in range(count):
            picture(folder / name / f"{number}.png", 1000 * seed + 100 * place + number)


def rows(count: int = 40) -> str:
    return "opinion,words\n" + "".join(f"{'good' if n % 2 else 'bad'},this is text {n}\n" for n in range(count))


def empty_folder(root: Path) -> None:
    (root / "own").mkdir()


def one_class(root: Path) -> None:
    pictures(root / "own", "a", 40)


def damaged_images(root: Path) -> None:
    pictures(root / "own")
    truncated = root / "own" / "a" / "7.png"
    truncated.write_bytes(truncated.read_bytes()[:-60])
    (root / "own" / "b" / "3.png").write_text("not a picture")


def class_only_in_test(root: Path) -> None:
    pictures(root / "own" / "train", "ab")
    pictures(root / "own" / "test", "abc", seed=1)


def same_content_in_train_and_test(root: Path) -> None:
    pictures(root / "own" / "train", "ab")
    pictures(root / "own" / "test", "ab", seed=1)
    shutil.copy(root / "own" / "train" / "a" / "0.png", root / "own" / "test" / "a" / "copy.png")


def identical_texts(root: Path) -> None:
    (root / "own.csv").write_text("opinion,words\n" + "good,the same\nbad,the same\n" * 20)


def wrong_columns(root: Path) -> None:
    (root / "own.csv").write_text(rows().replace("words", "wrods", 1))


def not_utf8(root: Path) -> None:
    (root / "own.csv").write_text(rows().replace("text 11", "café"), "latin-1")


def missing_gate_column(root: Path) -> None:
    (root / "own.csv").write_text(rows())


def only_a_header(root: Path) -> None:
    (root / "own.csv").write_text("opinion,words\n")


def nothing(root: Path) -> None:
    pass


CASES = [
    (FOLDER, nothing, "source.missing", ("source.path: {root}/own",)),
    (TABLE, nothing, "source.missing", ("source.path: {root}/own.csv",)),
    (FOLDER, empty_folder, "source.no-images", ("{root}/own",)),
    (TABLE, only_a_header, "source.empty", ("source.path: {root}/own.csv",)),
    (TABLE, wrong_columns, "source.missing-column", ("source.text: {root}/own.csv has no column 'words'",)),
    (SLICED, missing_gate_column, "gate.unknown-column", ("gate.slices.by", "'shop'")),
    (TABLE, not_utf8, "source.encoding", ("source.encoding: {root}/own.csv line 13", "byte 0xe9")),
    (FOLDER, one_class, "checks.failed", ("classes: observed 1 (a), required at least 2",)),
    (FOLDER, damaged_images, "checks.failed", ("a/7.png", "b/3.png")),
    (FOLDER, class_only_in_test, "checks.failed", ("observed train lacks 1 (c)",)),
    (FOLDER, same_content_in_train_and_test, "checks.failed", ("contents in several splits: observed 1",)),
    (TABLE, identical_texts, "checks.failed", ("bad rows: observed 40 of 40",)),
]

FAST = (nothing, wrong_columns, missing_gate_column, damaged_images, identical_texts)
"""Cases of both exit codes; the others are slow tests."""


@pytest.mark.parametrize(
    ("config", "make", "code", "named"),
    [pytest.param(*case, id=case[1].__name__, marks=() if case[1] in FAST else pytest.mark.slow) for case in CASES],
)
def test_bad_data_is_reported_and_nothing_is_trained_or_registered(
    after_digits: Workspace, config: str, make: Callable[[Path], None], code: str, named: tuple[str, ...]
) -> None:
    make(after_digits.root)
    outcome = after_digits.run("run", after_digits.write_config("own", config), "--json")

    checked = code == "checks.failed"
    assert (outcome.code, outcome.error_code) == (3 if checked else 2, code)
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert outcome.complaint[0].startswith("refused: " if checked else "error: ")
    for phrase in named:
        assert any(phrase.format(root=after_digits.root) in line for line in outcome.complaint), outcome.complaint
    assert checked or len(outcome.complaint) == 2
    assert "train     ..." not in outcome.stderr
    assert after_digits.registered() == {"digits-cnn": [1]}
    assert after_digits.production("digits-cnn") == 1
    assert {run.info.status for run in after_digits.runs("digits-cnn")} <= {"FINISHED", "FAILED"}
    stages = after_digits.root / ".modelworks" / "stages"
    assert {path.parent.name for path in stages.glob("*/*")} == {"validate", "train", "score"}
    assert len(list(stages.glob("*/*"))) == 3  # those of the production version
    assert after_digits.done("why", "configs/digits_cnn.yaml")["stages"]["train"] == []
