"""Save a model as safetensors, JSON and source code; `saved_model` loads it."""

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
"""Content of each `__init__.py`: MLflow's upload over HTTP does not end for an empty file."""


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
        folder: created if missing.
        description: kind, modality, architecture, shape.
        network: its tensors keep their dtypes.
        processor: its spec and files are stored.
        objective: its spec is stored.
        sources: the code, as returned by `sources`.
        training_ids: sorted uint64.

    Raises:
        OSError: writing fails; it names the file.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    dtypes = write_weights(folder / "model.safetensors", network.state_dict())
    processor.save(folder)
    content = {
        "format": FORMAT,
        **description,
        "objective": {"kind": objective.kind, "spec": objective.spec},
        "input": processor.spec,
        "dtypes": dtypes,
    }
    (folder / "model.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    shutil.copymode(folder / "model.json", folder / "model.safetensors")  # safetensors writes mode 0600
    for path, source in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(source)
    np.save(folder / "training_ids.npy", training_ids, allow_pickle=False)
    manifest = json.dumps(saved_model.files(folder), indent=1, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(manifest)
    return hashlib.sha256(manifest.encode()).hexdigest()


def read_objective(folder: Path) -> Objective:
    """Return a saved model's objective, built with this project's code from model.json."""
    description = json.loads((folder / "model.json").read_bytes())
    if "format" not in description:
        return objective_class("classification")({"classes": description["labels"]})
    stored = description["objective"]
    return objective_class(stored["kind"])(stored["spec"])


def sources(*modules: ModuleType) -> dict[str, bytes]:
    """Return a model's code by path: the modules and everything they import relatively.

    Call it when the modules are imported: the files may change before the model is saved.

    Args:
        modules: architecture, modality and objective.
    """
    found = {"saved.py": Path(saved_model.__file__).read_bytes()}
    for module in modules:
        package, *parts = module.__name__.split(".")
        root = Path(str(sys.modules[package].__file__)).parent
        pending = [root.joinpath(*parts).with_suffix(".py")]
        while pending:
            path = pending.pop()
            name = (Path("code") / path.relative_to(root)).as_posix()
            if name not in found:
                found[name] = path.read_bytes()
                pending += _relative_imports(path, found[name])
    packages = {parent for name in found for parent in Path(name).parents if parent != Path()}
    return {**{(parent / "__init__.py").as_posix(): PACKAGE for parent in packages}, **found}


def _relative_imports(path: Path, source: bytes) -> Iterator[Path]:
    """Yield the files of the modules that a source file imports relatively, at any nesting."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        targets = [base, *(base / alias.name for alias in node.names)]
        yield from (file for file in (target.with_suffix(".py") for target in targets) if file.is_file())
