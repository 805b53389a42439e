"""Select the modules, fields and libraries that can change the result of a stage."""

from __future__ import annotations

import importlib.util
import pkgutil
from typing import TYPE_CHECKING, Any

from modelworks import modalities
from modelworks.modalities.base import processor_class
from modelworks.objectives.config import KINDS

if TYPE_CHECKING:
    from modelworks.config.run_config import RunConfig
    from modelworks.training.hardware import Hardware

__all__ = [
    "AUGMENTATION",
    "check_modules",
    "modality_modules",
    "model_libraries",
    "preprocessing_fields",
    "train_fields",
    "unused_modules",
]

NEVER = frozenset(
    f"modelworks.{name}"
    for name in (
        # Error reporting and fault injection.
        *("errors", "redaction", "fault_injection"),
        # Storage and records of results that are computed elsewhere.
        *("files", "files.atomic_files", "files.digest", "files.digest_memo", "files.locks", "files.manifests"),
        *("pipeline.stage_store", "pipeline.change_guard", "process", "records", "settings"),
        *("data.dvc_storage.object_cache", "training.monitoring.events"),
        # Section classes: the values of the fields are ingredients.
        *("models.config", "objectives.config", "training.config", "validation.config", "evaluation.config"),
        # The common interface, which imports every modality.
        "modalities.base",
        # The list of sources: only the source in use counts.
        "data.sources",
    )
)
"""Modules that cannot change the result of any stage."""


AUGMENTATION = frozenset({"modelworks.modalities.image_augmentation"})
"""Modules of modalities that only training runs."""

ON_DEMAND = (
    "modelworks.training.launchers.ray_train",
    "modelworks.training.distributed.ddp",
    "modelworks.training.distributed.fsdp",
    "modelworks.training.compile",
)
"""Modules for Ray, several processes, sharding and compilation, which count only if they are used."""

WITHOUT_RESULT = ("checkpoint_seconds", "checkpoint_steps")
"""Fields of `train:` that set when checkpoints are saved, which does not change the result."""


def modality_modules() -> dict[str, tuple[str, ...]]:
    """Return the modules of each modality: `KIND.py` and `KIND_PART.py`."""
    modules: dict[str, tuple[str, ...]] = {}
    for found in pkgutil.iter_modules(modalities.__path__):
        kind = found.name.partition("_")[0]
        if kind != "base":
            modules[kind] = (*modules.get(kind, ()), f"modelworks.modalities.{found.name}")
    return modules


def check_modules(kind: str) -> tuple[str, ...]:
    """Return the module of an objective's data checks, if it has one."""
    name = f"modelworks.objectives.{kind}_checks"
    return (name,) if importlib.util.find_spec(name) else ()


def unused_modules(config: RunConfig, hardware: Hardware) -> set[str]:
    """Return the modules that this pipeline does not run, or that cannot change its results."""
    needed = (bool(hardware.ray), hardware.processes > 1, hardware.shard, config.train.compile)
    needed_by = dict(zip(ON_DEMAND, needed, strict=True))
    objectives = {kind: (f"modelworks.objectives.{kind}", *check_modules(kind)) for kind in KINDS}
    chosen = {config.model.modality, config.objective.kind}
    others = {
        module for name, each in {**modality_modules(), **objectives}.items() if name not in chosen for module in each
    }
    return {*NEVER, *others, *(module for module, needed in needed_by.items() if not needed)}


def train_fields(config: RunConfig) -> dict[str, Any]:
    """Return the `train:` section without fields that cannot change the weights."""
    section: dict[str, Any] = config.section("train")["train"]
    return {name: value for name, value in section.items() if name not in WITHOUT_RESULT}


def preprocessing_fields(config: RunConfig) -> dict[str, Any]:
    """Return the fields of `model:` that control preprocessing."""
    section = config.section("model")["model"]
    return {name: section[name] for name in processor_class(config.model.modality).settings if name in section}


def model_libraries(config: RunConfig) -> tuple[str, ...]:
    """Return the distributions that compute a model's predictions."""
    decoding = processor_class(config.model.modality).libraries
    return ("torch", "numpy", "pyarrow", *decoding, *config.model.libraries)
