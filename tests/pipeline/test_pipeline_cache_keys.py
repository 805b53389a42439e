"""Keys change with what a result depends on, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import modelworks
from modelworks.errors import BadInput
from modelworks.pipeline.cache_keys import (
    confirm_sources,
    differences,
    ingredients,
    key_of,
    library_versions,
    settings,
    sources,
)

PACKAGE = Path(modelworks.__file__).parent

PROGRAM = """
import json, sys
from modelworks.pipeline.cache_keys import sources
print(json.dumps(sources(sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Return `digests(file, edit)`: digests of the trainer's sources with one file edited."""
    copy = tmp_path_factory.mktemp("copy") / "modelworks"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def run(file: str = "errors.py", edit: Callable[[str], str] = str) -> dict[str, str]:
        original = (copy / file).read_text()
        (copy / file).write_text(edit(original))
        try:
            result = subprocess.run(
                [sys.executable, "-P", "-c", PROGRAM, "modelworks.training.__main__"],
                env={**os.environ, "PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
        finally:
            (copy / file).write_text(original)
        return dict(json.loads(result.stdout))

    return run


@pytest.mark.parametrize(
    "edit",
    [
        lambda source: source + "\n# a comment\n",
        lambda source: source + '\n"""A string expression."""\n',
        lambda source: source.replace('"""Take one optimizer step', '"""Step'),
        lambda source: source.replace("\n\n\n", "\n\n\n\n"),
    ],
    ids=["comment", "string", "docstring", "layout"],
)
def test_edits_without_effect_keep_the_digest(
    digests: Callable[..., dict[str, str]], edit: Callable[[str], str]
) -> None:
    source = (PACKAGE / "training" / "optimization" / "train_step.py").read_text()
    assert edit(source) != source
    assert digests("training/optimization/train_step.py", edit) == digests()


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("training/loop.py", "modelworks.training.loop"),
        # Three imports away: __main__ > fit > loop > train_step.
        ("training/optimization/train_step.py", "modelworks.training.optimization.train_step"),
        ("training/__init__.py", "modelworks.training"),
        ("__init__.py", "modelworks"),
    ],
)
def test_edit_of_imported_code_changes_only_its_own_digest(
    digests: Callable[..., dict[str, str]], file: str, module: str
) -> None:
    before, after = digests(), digests(file, lambda source: source + "\nADDED = 1\n")
    assert [name for name in before if before[name] != after[name]] == [module]


EDITED = """
import sys
from pathlib import Path
import modelworks
from modelworks.pipeline.cache_keys import changed_sources, ingredients

parts = ingredients(upstream={}, config={}, modules=["modelworks.training.monitoring.events"], libraries=[])
path = Path(modelworks.__file__).parent / "training" / "monitoring" / "events.py"
source = path.read_text()
for each in (source, source + "# a comment", source + "ADDED = 1", source + "def half(", None, source):
    path.unlink() if each is None else path.write_text(each)
    print(*changed_sources(parts))
"""


def test_edited_or_deleted_modules_are_reported(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "modelworks", ignore=shutil.ignore_patterns("__pycache__"))
    result = subprocess.run(
        [sys.executable, "-P", "-c", EDITED],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    edited = "modelworks.training.monitoring.events"
    assert result.stdout.splitlines() == ["", "", edited, edited, edited, ""]


def test_sources_of_training_exclude_modules_it_does_not_import(digests: Callable[..., dict[str, str]]) -> None:
    reached = digests()
    excluded = ("modelworks.registry", "modelworks.validation", "modelworks.evaluation", "modelworks.data.versioning")
    assert [name for name in reached if name.startswith(excluded)] == []


def test_settings_returns_the_leaves_of_a_config() -> None:
    nested = {"train": {"epochs": 8, "rate": 0.5}, "checks": {"expect": [{"a": 1}]}, "salt": "x"}
    assert settings(nested) == {
        "train.epochs": "8",
        "train.rate": "0.5",
        "checks.expect": '[{"a":1}]',
        "salt": '"x"',
    }


def test_ingredients_contain_inputs_config_sources_and_libraries() -> None:
    found = ingredients(
        upstream={"validate": "abc"},
        config={"train": {"epochs": 8}},
        modules=["modelworks.files.digest"],
        libraries=["numpy"],
    )
    assert set(found) == {
        "result of validate",
        "train.epochs",
        "source of modelworks.files.digest",
        "source of modelworks.files",
        "source of modelworks",
        "library numpy",
        "python",
    }
    assert found["library numpy"] == version("numpy")


def test_key_depends_on_every_ingredient_but_not_on_order() -> None:
    one, two = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert key_of(one) == key_of(two)
    assert key_of(one) != key_of({**one, "b": "3"})
    assert key_of(one) != key_of({**one, "c": ""})


def test_differences_are_described() -> None:
    old = {
        "train.epochs": "8",
        "source of modelworks.a": "1",
        "source of modelworks.gone": "1",
        "result of validate": "k1",
        "same": "1",
        "library numpy": "1",
    }
    new = {
        "train.epochs": "3",
        "source of modelworks.a": "2",
        "source of modelworks.new": "1",
        "result of validate": "k2",
        "same": "1",
        "train.seed": "0",
    }
    assert differences(old, new) == (
        "library numpy: 1 -> not set",
        "result of validate changed",
        "source of modelworks.a changed",
        "source of modelworks.gone is gone",
        "source of modelworks.new is new",
        "train.epochs: 8 -> 3",
        "train.seed: not set -> 0",
    )
    assert differences(new, new) == ()


def test_library_versions_include_python() -> None:
    assert library_versions([]) == {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def test_changed_source_is_rejected() -> None:
    current = {f"source of {name}": digest for name, digest in sources(["modelworks.models.cnn"]).items()}
    confirm_sources({**current, "train.epochs": "8"})
    with pytest.raises(BadInput, match=r"modelworks\.models\.cnn") as caught:
        confirm_sources({**current, "source of modelworks.models.cnn": "old digest"})
    assert caught.value.code == "code.changed"
