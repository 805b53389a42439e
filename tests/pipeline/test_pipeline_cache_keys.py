"""The key of a stage changes with what its result depends on, and with nothing else."""

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
    """`digests(file, edit)`: the sources of the trainer in a copy of the package, with one file edited."""
    copy = tmp_path_factory.mktemp("copy") / "modelworks"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def run(file: str = "errors.py", edit: Callable[[str], str] = str) -> dict[str, str]:
        original = (copy / file).read_text()
        (copy / file).write_text(edit(original))
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", PROGRAM, "modelworks.training.__main__"],
                env={**os.environ, "PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
        finally:
            (copy / file).write_text(original)
        return dict(json.loads(done.stdout))

    return run


@pytest.mark.parametrize(
    "edit",
    [
        lambda source: source + "\n# a comment\n",
        lambda source: source + '\n"""A string that stands for itself."""\n',
        lambda source: source.replace('"""Take one optimizer step', '"""Step'),
        lambda source: source.replace("\n\n\n", "\n\n\n\n"),
    ],
    ids=["comment", "string", "docstring", "layout"],
)
def test_what_does_nothing_changes_no_digest(
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
def test_code_that_is_reached_changes_its_own_digest_alone(
    digests: Callable[..., dict[str, str]], file: str, module: str
) -> None:
    before, after = digests(), digests(file, lambda source: source + "\nADDED = 1\n")
    assert [name for name in before if before[name] != after[name]] == [module]


EDITED = """
import sys
from pathlib import Path
import modelworks
from modelworks.pipeline.cache_keys import changed_sources, ingredients

made_of = ingredients(upstream={}, config={}, modules=["modelworks.training.monitoring.events"], libraries=[])
path = Path(modelworks.__file__).parent / "training" / "monitoring" / "events.py"
source = path.read_text()
for each in (source, source + "# a comment", source + "ADDED = 1", source + "def half(", None, source):
    path.unlink() if each is None else path.write_text(each)
    print(*changed_sources(made_of))
"""


def test_code_that_was_edited_or_deleted_since_is_named(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "modelworks", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", EDITED],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    edited = "modelworks.training.monitoring.events"
    assert done.stdout.splitlines() == ["", "", edited, edited, edited, ""]


def test_what_training_does_not_reach_is_none_of_its_sources(digests: Callable[..., dict[str, str]]) -> None:
    reached = digests()
    strangers = ("modelworks.registry", "modelworks.validation", "modelworks.evaluation", "modelworks.data.versioning")
    assert [name for name in reached if name.startswith(strangers)] == []


def test_a_config_is_split_into_its_leaves() -> None:
    nested = {"train": {"epochs": 8, "rate": 0.5}, "checks": {"expect": [{"a": 1}]}, "salt": "x"}
    assert settings(nested) == {
        "train.epochs": "8",
        "train.rate": "0.5",
        "checks.expect": '[{"a":1}]',
        "salt": '"x"',
    }


def test_ingredients_name_everything_a_result_depends_on() -> None:
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


def test_a_key_depends_on_every_ingredient_and_on_no_order() -> None:
    one, two = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert key_of(one) == key_of(two)
    assert key_of(one) != key_of({**one, "b": "3"})
    assert key_of(one) != key_of({**one, "c": ""})


def test_differences_are_said_in_words() -> None:
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


def test_pythons_version_is_always_among_the_libraries() -> None:
    assert library_versions([]) == {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def test_code_that_is_not_what_the_ingredients_tell_of_is_named() -> None:
    told = {f"source of {name}": digest for name, digest in sources(["modelworks.models.cnn"]).items()}
    confirm_sources({**told, "train.epochs": "8"})
    with pytest.raises(BadInput, match=r"source of modelworks\.models\.cnn was changed since"):
        confirm_sources({**told, "source of modelworks.models.cnn": "of before the edit"})
