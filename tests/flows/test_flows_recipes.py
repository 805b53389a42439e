"""Follow RECIPES.md: write every file, make every edit, and train every config to promotion."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pipelines.clones import commit, make_clone, running_from
from pipelines.commands import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.workspaces import Workspace

RECIPES = (REPOSITORY / "RECIPES.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"(Write|In) `([^`]+)`:")
CONFIGS = re.findall(r"Write `(configs/[^`]+)`:", RECIPES)


def follow(root: Path) -> None:
    """Write the files and make the edits of RECIPES.md in a clone, in order."""
    end = 0
    place: tuple[str, str] = ("", "")
    for block in BLOCK.finditer(RECIPES):
        place = next(reversed(PLACE.findall(RECIPES, end, block.start())), place)
        verb, name = place
        path, (language, text) = root / name, block.groups()
        assert (language == "diff") == (verb == "In"), name
        if verb == "Write":
            assert not path.exists(), f"{name} exists already"
            path.write_text(text)
        else:
            before = "".join(line[1:] for line in text.splitlines(True) if not line.startswith("+"))
            after = "".join(line[1:] for line in text.splitlines(True) if not line.startswith("-"))
            assert path.read_text().count(before) == 1, f"{name} does not have these lines:\n{before}"
            path.write_text(path.read_text().replace(before, after))
        end = block.end()


def write_data(root: Path) -> None:
    """Write counts.csv, sentences with a number of knocks, and waves.npz, sine waves of two frequencies."""
    draw = np.random.default_rng(0)
    knocks = draw.integers(0, 6, 400)
    words = [f"{'knock ' * count}at door {row}" for row, count in enumerate(knocks)]
    rows = "".join(f"{sentence},{count}\n" for sentence, count in zip(words, knocks, strict=True))
    (root / "counts.csv").write_text(f"sentence,knocks\n{rows}")
    labels = draw.choice(["low", "high"], 400)
    times = np.linspace(0, 2 * np.pi, 32)
    waves = np.sin(times * np.where(labels == "low", 1, 3)[:, None]) + draw.normal(0, 0.3, (400, 32))
    np.savez(root / "waves.npz", signals=waves, labels=labels)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of the code after all recipes."""
    root = tmp_path_factory.mktemp("recipes") / "project"
    make_clone(root)
    follow(root)
    write_data(root)
    commit(root, "All recipes")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_recipe_trains_to_promotion(
    followed: Path, config: str, make_workspace: Callable[[Path], Workspace], server_url: str
) -> None:
    workspace = make_workspace(followed)
    workspace = replace(workspace, environment=running_from(followed, workspace.environment))
    assert workspace.with_environment(PREFECT_API_URL=server_url).done("run", config)["verdict"] == "promote"


def test_recipes_cover_every_interface() -> None:
    assert re.findall(r"^## (.+)$", RECIPES, re.MULTILINE) == [
        "An architecture",
        "An objective",
        "A modality",
        "A source",
    ]
    assert len(CONFIGS) == 3
