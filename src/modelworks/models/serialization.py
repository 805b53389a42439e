"""Save a model: safetensors, JSON and the source that builds it; `saved_model` loads it again."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.models import saved_model
from modelworks.models.saved_model import MANIFEST, DamagedModel, InferenceModel, load, verify
from modelworks.models.weights_file import write_weights
from modelworks.objectives.base import objective_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    import numpy as np
    from torch import nn

    from modelworks.modalities.base import Processor
    from modelworks.objectives.base import Objective

__all__ = ["MANIFEST", "DamagedModel", "InferenceModel", "load", "read_objective", "save", "sources", "verify"]

FORMAT = 2
PACKAGE = b'"""Code that a saved model carries."""\n'
"""Of each `__init__.py`: MLflow's upload over HTTP does not end for an empty file."""


def save(
    folder: Path,
    *,
    description: Mapping[str, Any],
    network: nn.Module,
    processor: Processor,
    objective: Objective,
    sources: Mapping[str, bytes],
    training_ids: np.ndarray,
) -> str:
    """Write a model into an empty folder and return its digest.

    Args:
        folder: made if need be.
        description: kind, modality, architecture, shape.
        network: its tensors are stored in the types that they have.
        processor: the modality's, whose spec and files are stored.
        objective: whose spec is stored.
        sources: the code, as `sources` read it.
        training_ids: sorted uint64.

    Raises:
        OSError: the disk does not take the files; it names the file.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    dtypes = write_weights(folder / "model.safetensors", network.state_dict())
    processor.save(folder)
    whole = {
        "format": FORMAT,
        **description,
        "objective": {"kind": objective.kind, "spec": objective.spec},
        "input": processor.spec,
        "dtypes": dtypes,
    }
    (folder / "model.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    shutil.copymode(folder / "model.json", folder / "model.safetensors")  # whose own is the user's alone
    for path, source in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(source)
    np.save(folder / "training_ids.npy", training_ids, allow_pickle=False)
    manifest = json.dumps(saved_model.files(folder), indent=1, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(manifest)
    return hashlib.sha256(manifest.encode()).hexdigest()


def read_objective(folder: Path) -> Objective:
    """The objective of a saved model, run by this project's code; reads nothing but model.json, unverified."""
    description = json.loads((folder / "model.json").read_bytes())
    if "format" not in description:
        return objective_class("classification")({"classes": description["labels"]})
    stored = description["objective"]
    return objective_class(stored["kind"])(stored["spec"])


def sources(*modules: ModuleType) -> dict[str, bytes]:
    """The code of a model by its path in the package: the modules, and all that they reach by relative imports.

    To be read when they are imported: by the time the model is saved, the files may be others.

    Args:
        modules: those of the architecture, the modality and the objective.
    """
    found = {"saved.py": Path(saved_model.__file__).read_bytes()}
    for module in modules:
        package, *parts = module.__name__.split(".")
        root = Path(str(sys.modules[package].__file__)).parent
        waiting = [root.joinpath(*parts).with_suffix(".py")]
        while waiting:
            path = waiting.pop()
            name = (Path("code") / path.relative_to(root)).as_posix()
            if name not in found:
                found[name] = path.read_bytes()
                waiting += _relative_imports(path, found[name])
    packages = {parent for name in found for parent in Path(name).parents if parent != Path()}
    return {**{(parent / "__init__.py").as_posix(): PACKAGE for parent in packages}, **found}


def _relative_imports(path: Path, source: bytes) -> Iterator[Path]:
    """The files of the modules that a source file imports relatively, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        targets = [base, *(base / alias.name for alias in node.names)]
        yield from (file for file in (target.with_suffix(".py") for target in targets) if file.is_file())
