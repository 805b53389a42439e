"""Capture the provenance of a version: code, data, config, libraries and machine."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks import git
from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.dvc_storage.remotes import remotes
from modelworks.errors import Overtaken
from modelworks.files.digest import file_digest
from modelworks.pipeline.cache_keys import changed_sources
from modelworks.provenance import Code, DataPin, Machine, Provenance
from modelworks.redaction import redacted
from modelworks.training.machine.processor import find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelworks.pipeline.plan import Plan
    from modelworks.project import Project
    from modelworks.records import DatasetVersion
    from modelworks.training.hardware import Hardware

__all__ = ["LARGEST_PATCH", "REBUILT_STAGES", "ingredients", "installed", "machine", "observe"]

LARGEST_PATCH = 1_000_000
"""Maximum bytes of a patch that is stored with a version."""

KERNEL_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""CPU flags that select compute kernels."""

REBUILT_STAGES = ("validate", "train", "score")
"""The stages that a rebuild runs."""


def observe(plan: Plan) -> Provenance:
    """Return the provenance of a version that is registered now.

    Raises:
        Overtaken: data.dvc has changed since the run began.
    """
    config, root, parts = plan.config, git.code_root(), ingredients(plan)
    changed = sorted({name for each in parts.values() for name in changed_sources(each)})
    lock = root / "requirements.lock" if root else None
    return Provenance(
        code=_code(root, changed),
        data=_pin(plan.project, plan.dataset),
        config=config.values,
        lock=file_digest(lock) if lock and lock.is_file() else "",
        seed=config.train.seed,
        machine=machine(plan.hardware),
        python=platform.python_version(),
        libraries=installed(),
        ingredients=parts,
    )


def ingredients(plan: Plan) -> dict[str, Mapping[str, str]]:
    """Return the ingredients of the stages that a rebuild runs."""
    return {name: plan.stage(name).ingredients for name in REBUILT_STAGES}


def installed() -> dict[str, str]:
    """Return the version of every installed distribution; the first on the path counts."""
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        metadata = each.metadata  # parsed at every access
        if metadata["Name"]:  # an incomplete uninstall leaves one without a name
            found.setdefault(canonicalize_name(metadata["Name"]), metadata["Version"])
    return dict(sorted(found.items()))


def machine(hardware: Hardware) -> Machine:
    """Return the machine of this process and its trainer."""
    import torch

    found = find()
    processor = " ".join([platform.machine(), found.model, *(each for each in KERNEL_FLAGS if each in found.flags)])
    if hardware.device == "cuda":
        processor = f"{processor}, {torch.cuda.get_device_name(0)}"
    return Machine(
        device=hardware.device,
        precision=hardware.precision,
        threads=hardware.threads,
        processes=hardware.processes,
        shard=hardware.shard,
        scoring_threads=torch.get_num_threads(),
        processor=processor,
        precision_source=hardware.precision_source,
        product_rates=hardware.product_rates,
    )


def _code(root: Path | None, changed: Sequence[str] = ()) -> Code:
    if root is None:
        return Code(commit="", folder="", patch="", missing="the code that ran was not in a git repository")
    patch, missing = git.changes(root).decode(errors="surrogateescape"), ""
    if changed:
        missing = f"the source of {', '.join(changed)} changed during the run"
    elif len(patch) > LARGEST_PATCH:
        missing = f"the code differed from its commit by {len(patch):,} bytes; at most {LARGEST_PATCH:,} are stored"
    elif redacted(patch) != patch:
        missing = "the code's difference from its commit contains a password or key, and was not stored"
    return Code(commit=git.commit(root), folder=git.place_below(root), patch="" if missing else patch, missing=missing)


def _pin(project: Project, dataset: DatasetVersion) -> DataPin:
    path = project.root / "data.dvc"
    default, addresses = remotes(project)
    listed = dvc_file.files(project, dataset.name)
    if listed is not None and object_cache.listing_digest(listed) != dataset.digest:
        raise Overtaken(
            f"{path} no longer pins the version of {dataset.name} that this run began with",
            "another run has ingested a newer version, or the file was edited: run again",
            code="data.changed",
        )
    return DataPin(
        dataset=dataset.name,
        digest=dataset.digest,
        pin=path.read_text() if path.is_file() else "",
        remote=default,
        remotes=addresses,
    )
