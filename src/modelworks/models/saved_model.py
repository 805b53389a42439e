"""Verify a saved model and load it with the code saved beside it, without pickle.

    model.json           format, kind, modality, objective, architecture, shape, input, dtypes
    model.safetensors    the weights
    code/                the source of architecture, modality and objective, and their relative imports
    saved.py             this file at the time of training
    training_ids.npy     first 8 bytes of each training row's id; the gate does not test on these rows
    manifest.json        size and SHA-256 of each file above; its own SHA-256 is the model's digest

Sources run under private module names made from their digests, so that versions with different code can be loaded in
one process. This file imports nothing of this project, which a serving process may not have installed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

    import numpy as np
    import torch
    from torch import nn

__all__ = ["MANIFEST", "DamagedModel", "InferenceModel", "files", "import_code", "load", "run_source", "verify"]

MANIFEST = "manifest.json"
CHUNK = 8192
"""Examples decoded at a time while predicting, so that memory does not grow with their number."""


class DamagedModel(RuntimeError):
    """The folder's files differ from the manifest, or cannot be loaded."""


class InferenceModel:
    """A loaded model that maps contents to columns of predictions."""

    def __init__(self, network: nn.Module, processor: Any, objective: Any, description: Mapping[str, Any]) -> None:
        self.network, self.processor, self.objective = network.eval(), processor, objective
        self.description = description
        self.modality: str = description["modality"]
        floating = (each.dtype for each in network.parameters() if each.is_floating_point())
        self._dtype = next(floating, None)
        """The dtype that floating-point inputs are cast to."""

    def predict(self, contents: Iterable[Any], batch_size: int = 256) -> dict[str, np.ndarray]:
        """Return the objective's predicted columns, one row per content.

        Args:
            contents: encoded images or texts; iterated once, in chunks.
            batch_size: rows per forward pass.
        """
        import numpy as np

        rest = iter(contents)
        parts = [self._chunk(chunk, batch_size) for chunk in iter(lambda: list(itertools.islice(rest, CHUNK)), [])]
        parts = parts or [self._empty()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chunk(self, contents: Sequence[Any], batch_size: int) -> dict[str, np.ndarray]:
        import numpy as np
        import torch

        arrays = self.processor.arrange(self.processor.decode(contents))
        lengths = self.processor.lengths(arrays)
        order = np.arange(len(contents)) if lengths is None else np.argsort(lengths, kind="stable")
        columns: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                batch = self.processor.collate(arrays, torch.from_numpy(indices))
                outputs = self.network(**{name: self._cast(each) for name, each in batch.items()})
                for name, values in self.objective.predict(outputs.float()).items():
                    if name not in columns:
                        columns[name] = np.empty((len(contents), *values.shape[1:]), values.dtype)
                    columns[name][indices] = values
        return columns

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._dtype) if self._dtype is not None and tensor.is_floating_point() else tensor

    def _empty(self) -> dict[str, np.ndarray]:
        import torch

        columns: dict[str, np.ndarray] = self.objective.predict(torch.empty(0, self.objective.num_outputs))
        return columns


def verify(folder: Path, digest: Callable[[Path], str] | None = None) -> str:
    """Compare every file with the manifest and return the manifest's own SHA-256.

    Args:
        folder: of the saved model.
        digest: returns a file's SHA-256; None to read every byte.

    Raises:
        DamagedModel: a file differs, is missing, or is not named in the manifest.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        expected = dict(json.loads(raw))
        found = files(folder, digest)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedModel(f"{folder / MANIFEST} or a file that it lists cannot be read: {error}") from error
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if names:
        raise DamagedModel(f"{folder / names[0]} differs from {MANIFEST} ({len(names)} such files)")
    return hashlib.sha256(raw).hexdigest()


def load(folder: Path, digest: Callable[[Path], str] | None = None) -> InferenceModel:
    """Return the model in a folder, on the CPU, ready to predict.

    Args:
        folder: of the saved model.
        digest: as for `verify`.

    Raises:
        DamagedModel: a file differs from the manifest.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(folder, digest)
    description = json.loads((folder / "model.json").read_text())
    with torch.random.fork_rng(devices=[]):  # initial weights do not use the caller's generator
        network, processor, objective = (_build if "format" in description else _build_format_1)(folder, description)
    try:
        weights = load_file(folder / "model.safetensors")
        for name, own in network.state_dict(keep_vars=True).items():
            if name in weights:  # networks are built in float32; take the saved dtype
                own.data = own.data.to(weights[name].dtype)
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: other names or shapes
        raise DamagedModel(f"{folder / 'model.safetensors'} does not fit: {str(error).splitlines()[0]}") from error
    return InferenceModel(network, processor, objective, description)


def import_code(folder: Path) -> str:
    """Make the sources in a folder importable as a package and return its name.

    Modules are compiled from the bytes read here; no compiled file is read or written.
    """
    sources = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.py"))}
    digests = json.dumps({path: hashlib.sha256(source).hexdigest() for path, source in sources.items()})
    package = f"_modelworks_{hashlib.sha256(digests.encode()).hexdigest()[:16]}"
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, folder, sources))
        importlib.import_module(package)
    return package


def run_source(path: Path) -> ModuleType:
    """Run a source file as a module under a private name; no compiled file is read or written."""
    source = path.read_bytes()
    name = f"_modelworks_{path.stem}_{hashlib.sha256(source).hexdigest()[:16]}"
    if name not in sys.modules:
        module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None, origin=str(path)))
        # Register it before it runs: dataclasses and type hints look up their module by name.
        sys.modules[name] = module
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)
        except BaseException:  # a partially executed module must not be found later
            del sys.modules[name]
            raise
    return sys.modules[name]


def files(folder: Path, digest: Callable[[Path], str] | None = None) -> dict[str, dict[str, Any]]:
    """Return size and digest of each file except the manifest; {} for folders and links."""
    digest = digest or _sha256
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = {}  # never part of a model, whatever its target
        elif path.is_dir():
            found[name + "/"] = {}
        elif name != MANIFEST:
            found[name] = {"size": path.stat().st_size, "sha256": digest(path)}
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Find and run the modules of one private package from sources in memory."""

    def __init__(self, package: str, folder: Path, sources: Mapping[str, bytes]) -> None:
        self._modules: dict[str, tuple[bytes, str, bool]] = {}
        for path, source in sources.items():
            *parents, stem = path.removesuffix(".py").split("/")
            is_package = stem == "__init__"
            name = ".".join([package, *parents, *([] if is_package else [stem])])
            self._modules[name] = source, str(folder / path), is_package

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        _, origin, is_package = self._modules[fullname]
        return importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        source, origin, _ = self._modules[module.__name__]
        exec(compile(source, origin, "exec"), module.__dict__)


def _build(folder: Path, description: Mapping[str, Any]) -> tuple[nn.Module, Any, Any]:
    package = import_code(folder / "code")
    architecture = importlib.import_module(f"{package}.models.{description['kind']}")
    modality = importlib.import_module(f"{package}.modalities.{description['modality']}")
    base = importlib.import_module(f"{package}.objectives.base")
    objective = base.objective_class(description["objective"]["kind"])(description["objective"]["spec"])
    network = architecture.build(
        description["architecture"], description["shape"], objective.num_outputs, objective.output
    )
    return network, modality.Processor(description["input"], folder), objective


def _build_format_1(folder: Path, description: Mapping[str, Any]) -> tuple[nn.Module, Any, Any]:
    """Build a model of format 1, which has architecture.py, modality.py and labels.

    Its own saved.py serves it; this file loads it only if the project is installed.
    """
    from ..objectives.classification import Classification

    architecture, modality = run_source(folder / "architecture.py"), run_source(folder / "modality.py")
    network = architecture.build(description["architecture"], description["shape"], len(description["labels"]))
    processor = modality.Input(description["input"], folder)
    processor.collate = processor.batch
    return network, processor, Classification({"classes": description["labels"]})
