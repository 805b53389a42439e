"""Write a saved model as an MLflow model, reproducibly and without paths of this machine."""

from __future__ import annotations

import ast
import importlib.metadata
import shutil
import sys
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.models.serialization import read_objective

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["distributions_of", "saved_model", "write"]

WEIGHTS = "model.safetensors"
SERVING = ("mlflow", "pandas")
"""The distributions that serving.py imports."""


def saved_model(package: Path) -> Path:
    """Return the folder of the saved model in a package, see `models/serialization.py`."""
    return package / "artifacts" / "model"


def write(folder: Path, saved: Path, model_id: str, run_id: str, *, copy_weights: bool = True) -> None:
    """Write the MLflow model into a new folder; only ids and the time differ between two calls.

    Args:
        folder: created here.
        saved: folder of the saved model.
        model_id: of MLflow's logged model.
        run_id: of the model's run.
        copy_weights: False for a symbolic link to the weights, which an upload follows.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    # MLflow keeps the name of the folder that it copies.
    assert saved.name == saved_model(folder).name
    weights, answers = saved / WEIGHTS, read_objective(saved).answer_columns
    model = Model(model_id=model_id, run_id=run_id)
    # Copied, because MLmodel would contain the path on this machine.
    with tempfile.TemporaryDirectory() as staged, _without_example_warning():
        serving = Path(shutil.copyfile(Path(__file__).with_name("pyfunc_model.py"), Path(staged) / "serving.py"))
        light = shutil.copytree(saved, Path(staged) / saved.name, ignore=shutil.ignore_patterns(WEIGHTS))
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=model,
            python_model=str(serving),
            artifacts={"model": str(light)},
            # An unnamed column takes a DataFrame, list, array, Series or string, and every format of `models serve`.
            signature=ModelSignature(
                inputs=Schema([ColSpec("string")]),
                outputs=Schema([ColSpec(kind, name) for name, kind in answers.items()]),
                params=ParamSchema([ParamSpec("top_k", "long", 1)]),
            ),
            pip_requirements=_requirements(saved),
        )
    flavor = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["model_code_path"] = serving.name
    flavor["artifacts"]["model"]["uri"] = flavor["artifacts"]["model"]["path"]
    target = saved_model(folder) / WEIGHTS
    if copy_weights:
        shutil.copyfile(weights, target)
    else:
        target.symlink_to(weights.absolute())
    model.model_size_bytes += weights.stat().st_size
    model.save(str(folder / "MLmodel"))
    # Python would cache compiled code of serving.py here and later run it, also if it was tampered with. A file of the
    # folder's name prevents that.
    (folder / "__pycache__").write_text("This file keeps Python from running compiled code from this folder.\n")


def _requirements(saved: Path) -> list[str]:
    """Return the pinned distributions that serving.py and the model's sources import."""
    imported = {
        name.partition(".")[0]
        for source in saved.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_bytes()))
        for name in _imported(node)
    }
    needed = {*SERVING, *distributions_of(imported - sys.stdlib_module_names)}
    # A local version such as +cpu is not on a package index.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(needed)]


def distributions_of(modules: set[str]) -> set[str]:
    """Return the distributions that provide installed modules.

    `importlib.metadata.packages_distributions` reads the list of files of every distribution that lacks top_level.txt,
    which takes longer than the rest of a registration. So it is used only for modules that are not found otherwise.
    """
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        for module in modules.intersection((each.read_text("top_level.txt") or "").split()) - found.keys():
            found[module] = each.name  # reads another file
    for module in modules - found.keys():
        with suppress(importlib.metadata.PackageNotFoundError):
            found[module] = importlib.metadata.distribution(module).name
    if modules - found.keys():
        providers = importlib.metadata.packages_distributions()
        found |= {module: providers[module][0] for module in modules - found.keys() if module in providers}
    return set(found.values())


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


@contextmanager
def _without_example_warning() -> Iterator[None]:
    """Suppress MLflow's advice to add an input example: a package must not contain data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        yield
