"""Mistakes in a config are reported with their line, and all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from config.configs import PLAIN, rejection

from modelworks.config.run_config import load
from modelworks.errors import BadInput
from modelworks.objectives.config import Classification

MISTAKES = {
    "unknown key": ("train:\n", "train:\n  epoch: 3\n", "plain.yaml:7: train.epoch: unknown key; did you mean epochs?"),
    "unknown section": ("gate:", "schedul: {}\ngate:", "plain.yaml:8: schedul: unknown key; did you mean schedule?"),
    "section missing": ("gate:\n  minimums: {accuracy: 0.9}\n", "", "plain.yaml:1: gate: is missing"),
    "section empty": ("train:\n  epochs: 3\n", "train:\n", "plain.yaml:6: train: should be an object, not null"),
    "field missing": (
        "  minimums: {accuracy: 0.9}\n",
        "  compare: accuracy\n",
        "plain.yaml:8: gate: minimums is empty: limit a metric, there or in maximums",
    ),
    "required key misspelt": (
        "  minimums: {accuracy: 0.9}\n",
        "  minimum: {accuracy: 0.9}\n",
        "plain.yaml:9: gate.minimum: unknown key; did you mean minimums?",
    ),
    "text for number": ("3", "'3'", 'plain.yaml:7: train.epochs: should be a valid integer, not "3"'),
    "truth for number": ("3", "true", "plain.yaml:7: train.epochs: should be a valid integer, not true"),
    "negative epochs": ("3", "-3", "plain.yaml:7: train.epochs: should be greater than or equal to 1, not -3"),
    "empty gate": ("{accuracy: 0.9}", "{}", "plain.yaml:9: gate: minimums is empty"),
    "unknown metric": (
        "accuracy",
        "acuracy",
        "plain.yaml:9: gate.minimums.acuracy is not a metric of classification; did you mean accuracy?",
    ),
    "limit on the wrong side": (
        "minimums: {accuracy: 0.9}",
        "minimums: {log_loss: 0.9}",
        "plain.yaml:9: gate.minimums.log_loss limits the wrong side: low values are better; use gate.maximums",
    ),
    "limit out of range": (
        "0.9",
        "90",
        "plain.yaml:9: gate.minimums.accuracy is 90, but accuracy is between 0 and 1",
    ),
    "regression out of range": (
        "  minimums:",
        "  max_regression: 1\n  minimums:",
        "plain.yaml:9: gate.max_regression 1 has no effect: the metric is between 0 and 1",
    ),
    "slices on the wrong side": (
        "  minimums:",
        "  slices: {by: [label], maximum: 0.1}\n  minimums:",
        "plain.yaml:9: gate.slices.maximum limits the wrong side for classification; use gate.slices.minimum",
    ),
    "unknown model": ("kind: cnn", "kind: cnnn", 'plain.yaml:5: model.kind: there is no "cnnn"; did you mean cnn?'),
    "unknown source": ("digits", "cats", 'plain.yaml:3: source.kind: there is no "cats"; use one of: digits, mnist5k,'),
    "model without kind": ("kind: cnn", "hidden: 3", "plain.yaml:4: model.kind: is missing"),
    "key of another kind": (
        "cnn",
        "cnn\n  heads: 2",
        "plain.yaml:6: model.heads: unknown key; use one of: kind, size,",
    ),
    "key of a union": (
        "digits",
        "folder\n  path: x\n  pat: x",
        "plain.yaml:5: source.pat: unknown key; did you mean path?",
    ),
    "field of a union": ("digits", "folder\n  path: 3", "plain.yaml:4: source.path: should be a valid string, not 3"),
    "incompatible kinds": ("digits", "tweets", "plain.yaml:5: model.kind cnn reads images, but source.kind tweets"),
    "incompatible target": (
        "kind: digits",
        "kind: table\n  path: t.csv\n  image: file\n  number: price",
        "plain.yaml:1: objective.kind classification needs a label, but source.kind table has a number",
    ),
    "unknown monitor": (
        "epochs: 3",
        "monitor: validation_acuracy",
        "plain.yaml:7: train.monitor validation_acuracy is not measured for classification; did you mean validation_ac",
    ),
    "augmentation of another modality": (
        "kind: digits\nmodel:\n  kind: cnn\ntrain:\n",
        "kind: tweets\nmodel:\n  kind: transformer\ntrain:\n  augment: {flip: true}\n",
        "plain.yaml:7: train.augment.flip does not apply to texts, which model.kind transformer reads",
    ),
    "tokens of another modality": (
        "epochs: 3",
        "batch_tokens: 99",
        "plain.yaml:7: train.batch_tokens counts tokens, but model.kind cnn reads images",
    ),
    "moved field": (
        "epochs: 3",
        "label_smoothing: 0.1",
        "plain.yaml:7: train.label_smoothing: was moved to another section; write objective: {kind: classification, l",
    ),
    "name": ("my-model", "My model", 'plain.yaml:1: name: "My model" is not of the form'),
    "duplicate key": ("  epochs: 3\n", "  epochs: 3\n  epochs: 4\n", "plain.yaml:8: epochs is given twice"),
    "not yaml": ("{accuracy: 0.9}", "{accuracy: 0.9", "plain.yaml:10: not YAML: "),
    "a date": ("3", "2026-01-01", "plain.yaml:7: train.epochs: 2026-01-01 is a date in YAML; write it in quotes"),
    "not finite": ("0.9", ".nan", "plain.yaml:9: gate.minimums.accuracy: nan is not a finite number"),
    "alias in itself": ("{accuracy: 0.9}", "&a {accuracy: *a}", "plain.yaml: Circular reference"),
    "cron": ("gate:", "schedule: {cron: daily}\ngate:", "plain.yaml:8: schedule: cron 'daily': wrong number of fields"),
    "time zone": (
        "gate:",
        "schedule:\n  cron: 0 2 * * *\n  timezone: Mars\ngate:",
        "plain.yaml:10: schedule: timezone 'Mars' is not an IANA name",
    ),
    "expectation": (
        "gate:",
        "checks:\n  expect:\n    - expect_column_mean_be_between: {column: mean}\ngate:",
        "plain.yaml:10: checks.expect.0.expect_column_mean_be_between: there is no such expectation; did you mean e",
    ),
    "shares": (
        "gate:",
        "split: {validation: 0.5, test: 0.5}\ngate:",
        "plain.yaml:8: split: validation and test together leave no rows for training",
    ),
}


@pytest.mark.parametrize(("good", "bad", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_reported_with_its_line_and_a_suggestion(file: Path, good: str, bad: str, expected: str) -> None:
    assert good in PLAIN
    file.write_text(PLAIN.replace(good, bad))
    message = rejection(file)
    assert message.startswith(expected), message


def test_all_mistakes_are_reported_at_once(file: Path) -> None:
    text = PLAIN.replace("3", "-3").replace("{accuracy: 0.9}", "{}").replace("cnn", "cnnn").replace("my", "MY")
    file.write_text(text + "evaluate:\n  wurst: 3\nchecks:\n  expect: [{expect_nothing: {}}]\n")
    lines = rejection(file, "train.seed=x", "train.batch_size=0").splitlines()
    assert lines[0] == "plain.yaml: 8 mistakes"
    assert [line.split(": ")[1] for line in lines[1:-1]] == [
        "name",
        "model.kind",
        "train.epochs",
        "gate",
        "evaluate.wurst",
        "checks.expect.0.expect_nothing",
        "train.batch_size",
        "train.seed",
    ], "in the order of the file, overrides last"


def test_mistake_in_an_override_is_reported_with_the_override(file: Path) -> None:
    assert rejection(file, "train.epochs=three").startswith(
        '--set train.epochs=three: train.epochs: should be a valid integer, not "three"'
    )
    assert rejection(file, "model.kind=cnnn").startswith('--set model.kind=cnnn: model.kind: there is no "cnnn"')
    assert rejection(file, "gate.minimums={}").startswith("--set gate.minimums={}: gate: minimums is empty")
    assert rejection(file, "source.kind=tweets").startswith("plain.yaml:5: model.kind cnn reads images")


@pytest.mark.parametrize("assignment", ["train.epochs", "=3", "train..epochs=3", "train.epochs=[", "name.x=3"])
def test_malformed_override_is_rejected(file: Path, assignment: str) -> None:
    assert rejection(file, assignment).startswith(f"--set {assignment}: ")


def test_missing_file_suggests_the_nearest_name(file: Path) -> None:
    near = file.with_name("plane.yaml")
    with pytest.raises(BadInput) as caught:
        load(near)
    assert caught.value.hint == f"did you mean {file}?"
    with pytest.raises(BadInput) as caught:
        load(file.parent / "nowhere" / "plain.yaml")
    assert caught.value.code == "config.missing"


@pytest.mark.parametrize("text", ["", "- 3", "three"])
def test_file_without_keys_is_rejected(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        load(file)
    assert caught.value.code == "config.not-a-config"


def test_binary_file_and_folder_are_rejected(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    for path in (file, file.parent):
        with pytest.raises(BadInput) as caught:
            load(path)
        assert caught.value.code == "config.unreadable"


def test_hint_for_a_moved_field_is_a_valid_config(file: Path) -> None:
    file.write_text(PLAIN.replace("epochs: 3", "label_smoothing: 0.1"))
    hint = rejection(file).splitlines()[0].partition("write ")[2]
    file.write_text(PLAIN + hint + "\n")
    assert load(file).objective == Classification(kind="classification", label_smoothing=0.1)
