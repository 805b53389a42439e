"""A saved model written as an MLflow model: reproducible, with its own code, and without a path of this machine."""

from __future__ import annotations

import ast
import importlib.metadata
import shutil
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["saved_model", "write"]

WEIGHTS = "model.safetensors"
SERVING = ("mlflow", "numpy", "pandas")
"""What serving.py imports."""


def saved_model(package: Path) -> Path:
    """Where in a package the saved model is (see `models/serialization.py`)."""
    return package / "artifacts" / "model"


def write(folder: Path, saved: Path, model_id: str, run_id: str, *, copy_weights: bool = True) -> None:
    """Write the MLflow model into a new folder; nothing in it differs from another time but its ids and the time.

    Args:
        folder: made here.
        saved: the saved model.
        model_id: of MLflow's logged model.
        run_id: of its run.
        copy_weights: False for a symbolic link to the weights, which an upload follows.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    # MLflow names the artifact's folder after the one it copies.
    assert saved.name == saved_model(folder).name
    weights = saved / WEIGHTS
    model = Model(model_id=model_id, run_id=run_id)
    # Copied to a neutral place: MLmodel would name this machine's.
    with tempfile.TemporaryDirectory() as staged, _without_advice():
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
                outputs=Schema([ColSpec("string", "label"), ColSpec("double", "probability")]),
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
    # Python would keep serving.py compiled here and later run that in its place, whoever wrote it. A file of the
    # folder's name keeps it from reading or writing there.
    (folder / "__pycache__").write_text("This file keeps Python from running compiled code that lies here.\n")


def _requirements(saved: Path) -> list[str]:
    """The distributions that serving and the model's own sources import, at the versions it was evaluated with."""
    imported = {
        name.partition(".")[0]
        for source in saved.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_bytes()))
        for name in _imported(node)
    }
    providers = importlib.metadata.packages_distributions()
    needed = {
        *SERVING,
        *(providers[name][0] for name in imported if name in providers and name not in sys.stdlib_module_names),
    }
    # A local suffix such as +cpu names a build that no package index has.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(needed)]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


@contextmanager
def _without_advice() -> Iterator[None]:
    """MLflow advises an input example; rows of the data set have no place in a package that others may get."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        yield
