"""A model as it is stored and loaded: safetensors, JSON and the source that builds it; never a pickle.

    model.json           kind, modality, labels, architecture config, input spec, number of tensors by type
    model.safetensors    the weights
    architecture.py      the source of the architecture, as it was when the model was trained
    modality.py          the source that turns content into input, as it was then
    saved.py             this file, as it was then
    training_ids.npy     first 8 bytes of each training row's id: what the gate must not test on
    manifest.json        size and SHA-256 of each file above; its own SHA-256 is the model's digest

The sources run under a private module name made from their digest, so versions with different code live side
by side in one process. This file imports nothing of this project: a serving process may not have it.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    import numpy as np
    import torch
    from torch import nn

__all__ = ["DamagedModel", "InferenceModel", "load", "save", "sources", "verify"]

MANIFEST = "manifest.json"
CHUNK = 8192
"""Examples decoded at a time while predicting: memory stays flat however many there are."""


class DamagedModel(RuntimeError):
    """The folder does not hold exactly the files, byte for byte, that were saved."""


class InferenceModel:
    """A loaded model: content in, probabilities out."""

    def __init__(self, network: nn.Module, inputs: Any, description: Mapping[str, Any]) -> None:
        self.network, self.inputs, self.description = network.eval(), inputs, description
        self.labels: tuple[str, ...] = tuple(description["labels"])
        self.modality: str = description["modality"]
        floating = (each.dtype for each in network.parameters() if each.is_floating_point())
        self._dtype = next(floating, None)
        """What floating inputs are brought to."""

    def probabilities(self, contents: Sequence[bytes] | Sequence[str], batch_size: int = 256) -> np.ndarray:
        """float32 (len(contents), len(labels)); rows sum to 1. Contents are encoded images or texts."""
        import numpy as np

        parts = [self._chunk(contents[start : start + CHUNK], batch_size) for start in range(0, len(contents), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)), np.float32)

    def _chunk(self, contents: Sequence[Any], batch_size: int) -> np.ndarray:
        import numpy as np
        import torch

        arrays = self.inputs.arrange(self.inputs.decode(contents))
        lengths = self.inputs.lengths(arrays)
        order = np.arange(len(contents)) if lengths is None else np.argsort(lengths, kind="stable")
        result = np.empty((len(contents), len(self.labels)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                batch = self.inputs.batch(arrays, torch.from_numpy(indices))
                logits = self.network(**{name: self._cast(each) for name, each in batch.items()})
                result[indices] = logits.float().softmax(-1).numpy()
        return result

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._dtype) if self._dtype is not None and tensor.is_floating_point() else tensor


def save(
    folder: Path,
    *,
    description: Mapping[str, Any],
    network: nn.Module,
    inputs: Any,
    sources: Mapping[str, bytes],
    training_ids: np.ndarray,
) -> str:
    """Write a model into an empty folder and return its digest.

    Args:
        folder: made if need be.
        description: kind, modality, labels, architecture, shape.
        network: its tensors are stored in the types that they have.
        inputs: the modality's Input, whose spec and files are stored.
        sources: the code, as `sources` read it.
        training_ids: sorted uint64.

    Raises:
        OSError: the disk does not take the files; it names the file.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    _write_tensors(folder / "model.safetensors", state)
    inputs.save(folder)
    types = [str(tensor.dtype).removeprefix("torch.") for tensor in state.values()]
    dtypes = {name: types.count(name) for name in sorted(set(types))}
    (folder / "model.json").write_text(
        json.dumps({**description, "input": inputs.spec, "dtypes": dtypes}, indent=1, ensure_ascii=False) + "\n"
    )
    shutil.copymode(folder / "model.json", folder / "model.safetensors")  # whose own is the user's alone
    for name, source in sources.items():
        (folder / f"{name}.py").write_bytes(source)
    np.save(folder / "training_ids.npy", training_ids, allow_pickle=False)
    manifest = json.dumps(_files(folder, _sha256), indent=1, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(manifest)
    return hashlib.sha256(manifest.encode()).hexdigest()


def _write_tensors(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Stream tensors to a file and sync it: the library writes from their own memory, beside it, and renames.

    Raises:
        OSError: the disk does not take it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(state), path)
    except SafetensorError as error:  # it keeps the system's error as text alone
        number = re.search(r"os error (\d+)|code: (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1] or number[2])
        raise OSError(code, os.strerror(code), str(path)) from error
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sources(architecture: ModuleType, modality: ModuleType) -> dict[str, bytes]:
    """The code of a model, to be read when it is imported: by the time the model is saved, its files may be others."""
    modules = {"architecture": architecture, "modality": modality, "saved": sys.modules[__name__]}
    return {name: Path(str(module.__file__)).read_bytes() for name, module in modules.items()}


def verify(folder: Path, digest: Callable[[Path], str] | None = None) -> str:
    """Compare every file with the manifest and return the manifest's own SHA-256.

    Args:
        folder: with the model.
        digest: gives a file's SHA-256; None to read every byte.

    Raises:
        DamagedModel: a file differs, is missing, or is not named in the manifest.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        expected = dict(json.loads(raw))
        found = _files(folder, digest or _sha256)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedModel(f"{folder / MANIFEST}, or a file beside it, cannot be read: {error}") from error
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if names:
        raise DamagedModel(f"{folder / names[0]} is not what was saved, by {MANIFEST} ({len(names)} such files)")
    return hashlib.sha256(raw).hexdigest()


def load(folder: Path, digest: Callable[[Path], str] | None = None) -> InferenceModel:
    """The model in a folder, on the CPU, ready to predict.

    Args:
        folder: with the model.
        digest: as for `verify`.

    Raises:
        DamagedModel: the folder is not what was saved.
    """
    import torch

    verify(folder, digest)
    description = json.loads((folder / "model.json").read_text())
    architecture = execute(folder / "architecture.py")
    modality = execute(folder / "modality.py")
    with torch.random.fork_rng(devices=[]):  # the fresh weights, soon overwritten, cost the caller no random numbers
        network = architecture.build(description["architecture"], description["shape"], len(description["labels"]))
    state = _read_tensors(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in (*network.named_parameters(), *network.named_buffers()):
            if name in state:  # a network is built in float32, and keeps the types that it was saved with
                parameter.data = parameter.data.to(state[name].dtype)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # names or shapes that are not the architecture's
        raise DamagedModel(f"{folder / 'model.safetensors'} does not fit: {str(error).splitlines()[0]}") from error
    return InferenceModel(network, modality.Input(description["input"], folder), description)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise DamagedModel(f"{path} does not fit: {str(error).splitlines()[0]}") from error


def execute(path: Path) -> ModuleType:
    """Run a source file as a module under a private name; no compiled file is read or written."""
    source = path.read_bytes()
    name = f"_modelworks_{path.stem}_{hashlib.sha256(source).hexdigest()[:16]}"
    if name not in sys.modules:
        module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None, origin=str(path)))
        # Registered before it runs: dataclasses and type hints look their module up by name.
        sys.modules[name] = module
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)
        except BaseException:  # whatever it was: half a module must not be found the next time
            del sys.modules[name]
            raise
    return sys.modules[name]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path, digest: Callable[[Path], str]) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            files[name] = {}  # never part of a model, whatever it leads to
            continue
        if path.is_dir() or name == MANIFEST:
            if path.is_dir():
                files[name + "/"] = {}
            continue
        files[name] = {"size": path.stat().st_size, "sha256": digest(path)}
    return files
