"""A model as it is stored and loaded: safetensors, JSON and the source that builds it; never a pickle.

    model.json           kind, modality, labels, architecture config, input spec
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
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
                logits = self.network(**self.inputs.batch(arrays, torch.from_numpy(indices)))
                result[indices] = logits.float().softmax(-1).numpy()
        return result


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
        network: its state is stored in float32.
        inputs: the modality's Input, whose spec and files are stored.
        sources: the code, as `sources` read it.
        training_ids: sorted uint64.
    """
    import numpy as np
    from safetensors.torch import save as serialised

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    (folder / "model.safetensors").write_bytes(serialised(state))  # our write: a full disk is an OSError
    inputs.save(folder)
    (folder / "model.json").write_text(
        json.dumps({**description, "input": inputs.spec}, indent=1, ensure_ascii=False) + "\n"
    )
    for name, source in sources.items():
        (folder / f"{name}.py").write_bytes(source)
    np.save(folder / "training_ids.npy", training_ids, allow_pickle=False)
    (folder / MANIFEST).write_text(json.dumps(_files(folder), indent=1, sort_keys=True) + "\n")
    return verify(folder)


def sources(architecture: ModuleType, modality: ModuleType) -> dict[str, bytes]:
    """The code of a model, to be read when it is imported: by the time the model is saved, its files may be others."""
    modules = {"architecture": architecture, "modality": modality, "saved": sys.modules[__name__]}
    return {name: Path(str(module.__file__)).read_bytes() for name, module in modules.items()}


def verify(folder: Path) -> str:
    """Compare every byte with the manifest and return the manifest's own SHA-256.

    Raises:
        DamagedModel: a file differs, is missing, or is not named in the manifest.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        expected = dict(json.loads(raw))
        found = _files(folder)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedModel(f"{folder / MANIFEST}, or a file beside it, cannot be read: {error}") from error
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if names:
        raise DamagedModel(f"{folder / names[0]} is not what was saved, by {MANIFEST} ({len(names)} such files)")
    return hashlib.sha256(raw).hexdigest()


def load(folder: Path) -> InferenceModel:
    """The model in a folder, on the CPU, ready to predict.

    Raises:
        DamagedModel: the folder is not what was saved.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(folder)
    description = json.loads((folder / "model.json").read_text())
    architecture = execute(folder / "architecture.py")
    modality = execute(folder / "modality.py")
    with torch.random.fork_rng(devices=[]):  # the fresh weights, soon overwritten, cost the caller no random numbers
        network = architecture.build(description["architecture"], description["shape"], len(description["labels"]))
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:  # the latter: names or shapes that are not the architecture's
        raise DamagedModel(f"{folder / 'model.safetensors'} does not fit: {str(error).splitlines()[0]}") from error
    return InferenceModel(network, modality.Input(description["input"], folder), description)


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


def _files(folder: Path) -> dict[str, dict[str, Any]]:
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
        with path.open("rb") as stream:
            files[name] = {
                "size": path.stat().st_size,
                "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
            }
    return files


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.is_floating_point() else plain).contiguous()
