"""Find the versions that were trained on a row, from their stored training ids."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.fault_injection import effect
from modelworks.files.atomic_files import disk_errors
from modelworks.files.digest import file_digest
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.tracking import tags
from modelworks.registry.verification.verify_version import model_folder
from modelworks.registry.versions import provenance_record, queries

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from modelworks.project import Project
    from modelworks.registry.versions.queries import Registered

__all__ = ["Holder", "Holders", "trained_on"]

DIGITS = 16
"""Hexadecimal digits of an id that a version stores: its first 8 bytes."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A version that was trained on the row."""

    model: str
    version: int
    production: bool


@dataclass(frozen=True, kw_only=True)
class Holders:
    """The versions that were trained on a row."""

    ids: tuple[str, ...]
    """The first 16 digits of the matching training rows; more than one is ambiguous."""
    holders: tuple[Holder, ...]
    asked: int
    """Number of versions that were searched."""
    unknown: tuple[str, ...]
    """Versions without training ids, because modelworks did not register them."""


@maps_tracking_errors
def trained_on(client: MlflowClient, project: Project, prefix: str) -> Holders:
    """Return the versions of all models that were trained on a row whose id has this prefix.

    A version stores 8 bytes of each id. Two rows with equal bytes (probability 10^-19 per pair) count as one.

    Args:
        client: of the store.
        project: caches the ids, 8 bytes per row, fetched once and verified each time.
        prefix: lower-case hexadecimal digits.

    Raises:
        Corrupt: the ids of a version differ from what was registered.
    """
    import numpy as np

    digits = prefix[:DIGITS]
    low, high = int(digits.ljust(DIGITS, "0"), 16), int(digits.ljust(DIGITS, "f"), 16)
    found: set[int] = set()
    holders: list[Holder] = []
    unknown: list[str] = []
    asked = 0
    for name in _models(client):
        production = queries.production(client, name)
        for version in _versions(client, name):
            if not version.digest:
                unknown.append(f"{name} version {version.version}")
                continue
            ids = _ids(client, project, version)
            asked += 1
            # NumPy integers: with a Python int above 2^63 NumPy compares as floats.
            start = np.searchsorted(ids, np.uint64(low), "left")
            end = np.searchsorted(ids, np.uint64(high), "right")
            if end > start:
                found |= {int(each) for each in ids[start:end]}
                holders.append(Holder(model=name, version=version.version, production=version.version == production))
    return Holders(
        ids=tuple(f"{each:0{DIGITS}x}" for each in sorted(found)),
        holders=tuple(holders),
        asked=asked,
        unknown=tuple(unknown),
    )


def _ids(client: MlflowClient, project: Project, version: Registered) -> np.ndarray:
    """Return the first 8 bytes of the ids of a version's training rows, as sorted uint64."""
    import numpy as np

    digest = version.tags.get(tags.TRAINING_IDS, "")
    if not digest:  # registered by an early release: the ids are only in the package
        folder = model_folder(client, project, version.name, version.version)
        return np.asarray(np.load(folder / provenance_record.TRAINING_IDS, allow_pickle=False))
    if not re.fullmatch(r"[0-9a-f]{64}", digest):  # it is used as a file name
        raise BadInput(
            f"{version.name} version {version.version}: its tag {tags.TRAINING_IDS} is not a SHA-256",
            code="version.bad-digest",
        )
    cached = project.state / "training_ids" / f"{digest}.npy"
    if not cached.is_file() or file_digest(cached) != digest:
        with disk_errors(cached):
            cached.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cached.parent) as temporary:
                path = provenance_record.read_ids(client, version, Path(temporary))
                with effect("rows.keep"):
                    shutil.move(path, cached)
    return np.asarray(np.load(cached, allow_pickle=False))


def _models(client: MlflowClient) -> list[str]:
    found: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    return sorted(each.name for each in found)


def _versions(client: MlflowClient, name: str) -> list[Registered]:
    found: list[ModelVersion] = all_pages(
        lambda token: client.search_model_versions(f"name = '{name}'", page_token=token)
    )
    return sorted(map(queries.registered, found), key=lambda each: each.version)
