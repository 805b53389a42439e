"""The plan of a run: the key of every stage, known before anything is done.

Keys stand on keys, so the whole chain follows from the data's digest, the config, the code and the hardware.
What `run` does, what `why` says and what is skipped are all read from here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.atomic_files import write_json
from modelworks.config.run_config import RunConfig
from modelworks.digest import json_digest
from modelworks.models.pretrained_weights import identity, locate
from modelworks.pipeline.cache_keys import differences, ingredients, key_of, settings, sources
from modelworks.pipeline.stage_store import StageStore
from modelworks.project import Project
from modelworks.records import DatasetVersion, ValidationReport
from modelworks.training.hardware import Hardware, Precision
from modelworks.training.job import Job
from modelworks.training.machine.detect import detect
from modelworks.training.machine.precision import choose, recorded

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STAGES", "Plan", "Stage", "make_plan", "reasons", "remember", "training_job", "work_folder"]

STAGES = ("ingest", "validate", "train", "evaluate", "register", "gate", "promote")

_CONTENT_LIBRARIES = {"image": ("pillow",), "text": ("tokenizers",)}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage's key and what it is made of."""

    name: str
    key: str
    ingredients: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages whose result has a key, in order; ingest always looks and promote follows the verdict."""

    hardware: Hardware
    validate: Stage
    train: Stage
    decoded_key: str
    """Names the decoded rows: they depend on less than the training does."""
    evaluate: Stage
    register: Stage
    gate: Stage

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (self.validate, self.train, self.evaluate, self.register, self.gate)


def make_plan(project: Project, config: RunConfig, dataset: DatasetVersion) -> Plan:
    """The plan of a config over a version of its data.

    Raises:
        BadInput: the config asks for hardware or a checkpoint that is not there, or bf16 cannot be measured.
    """
    modality, kind = config.model.modality, config.model.kind
    hardware = detect(config.compute)
    content = _CONTENT_LIBRARIES[modality]
    validate = _stage(
        "validate",
        upstream={"ingest": dataset.digest},
        config=config.section("split", "checks"),
        modules=["modelworks.validation.validate"],
        libraries=(
            "great-expectations",
            "pandas",
            "numpy",
            "pyarrow",
            *(("pillow",) if modality == "image" else ("ftfy",)),
        ),
    )
    trainer = _stage(
        "train",
        upstream={"validate": validate.key},
        config={
            **config.section("model", "train"),
            "compute": {
                "device": hardware.device,
                "precision": hardware.precision,
                "threads": hardware.threads,
                "processes": hardware.processes,
                "shard": hardware.shard,
            },
        },
        modules=["modelworks.training.__main__", f"modelworks.models.{kind}", f"modelworks.modalities.{modality}"],
        libraries=(
            *("torch", "numpy", "pyarrow", "safetensors"),
            *content,
            *(("transformers",) if kind == "pretrained" else ()),
        ),
        more=identity(config.model, project.root),
    )
    hardware = _with_precision(project, config, hardware, trainer)
    trainer = _in_precision(trainer, hardware.precision)
    evaluate = _stage(
        "evaluate",
        upstream={"train": trainer.key},
        config=config.section("evaluate"),
        modules=["modelworks.evaluation.evaluate"],
        libraries=("numpy", "matplotlib", "pillow", "pyarrow"),
    )
    register = _stage(
        "register",
        upstream={"evaluate": evaluate.key},
        config=config.section("name"),
        modules=["modelworks.registry.packaging.upload", "modelworks.registry.packaging.pyfunc_model"],
        libraries=("mlflow",),
    )
    gate = _stage(
        "gate",
        upstream={"register": register.key},
        config=config.section("gate"),
        modules=["modelworks.evaluation.gate.decision"],
        libraries=("numpy",),
    )
    decoding = {
        "validate": validate.key,
        "model": config.section("model"),
        "code": sources(["modelworks.preprocessing.preprocessed", f"modelworks.modalities.{modality}"]),
        "checkpoint": identity(config.model, project.root),
    }
    return Plan(
        hardware=hardware,
        validate=validate,
        train=trainer,
        decoded_key=json_digest(decoding),
        evaluate=evaluate,
        register=register,
        gate=gate,
    )


def training_job(project: Project, config: RunConfig, plan: Plan, report: ValidationReport) -> Job:
    """What the trainer is told: it ends when this process does.

    Raises:
        BadInput, Unavailable: the checkpoint that the weights start from cannot be had.
    """
    return Job(
        key=plan.train.key,
        dataset=report.dataset.folder,
        dataset_digest=report.dataset.digest,
        splits=report.folder / "splits.npy",
        classes=report.dataset.classes,
        decoded=project.state,
        decoded_key=plan.decoded_key,
        checkpoint=locate(config.model, project.root),
        model=config.model,
        train=config.train,
        hardware=plan.hardware,
        work=work_folder(project, plan),
        parent=os.getpid(),
    )


def work_folder(project: Project, plan: Plan) -> Path:
    """Where a training keeps its checkpoints until its model has its name."""
    return _work_folder(project, plan.train)


def reasons(project: Project, config: RunConfig, plan: Plan, done: Mapping[str, bool]) -> dict[str, tuple[str, ...]]:
    """Why each stage would run, in words; empty for a stage that would not.

    Args:
        done: whether the registry already holds the result of "register" and of "gate".
    """
    store = StageStore(project.stages)
    last = _remembered(project, config)
    phrases: dict[str, tuple[str, ...]] = {}
    for stage in plan.stages:
        if stage.name in done:
            state = "intact" if done[stage.name] else "absent"
        else:
            state = store.state(stage.name, stage.key)
        if state == "intact":
            phrases[stage.name] = ()
        elif state == "damaged":
            phrases[stage.name] = ("its stored output is damaged",)
        elif stage.name not in last:
            phrases[stage.name] = ("it has not run before",)
        else:
            changes = differences(last[stage.name], stage.ingredients)
            phrases[stage.name] = changes or ("its stored output is gone",)
    return phrases


def remember(project: Project, config: RunConfig, plan: Plan) -> None:
    """Keep the ingredients of a finished run, for the next `why` to compare with."""
    path = project.state / "pipelines" / f"{config.name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {stage.name: dict(stage.ingredients) for stage in plan.stages})


def _with_precision(project: Project, config: RunConfig, found: Hardware, train: Stage) -> Hardware:
    """The hardware with the precision that `auto` chooses on a CPU.

    A training that was begun or done under the same key keeps its choice, so that it is resumed or reused whatever a
    new measurement would find.
    """
    if found.precision_source not in ("undecided", "cpu_flags"):
        return found
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        stage = _in_precision(train, precision)
        done = StageStore(project.stages).folder(stage.name, stage.key) / "record.json"
        kept = recorded(found, precision, (_work_folder(project, stage) / "job.json", done))
        if kept is not None:
            return kept
    return choose(found, config.model.modality, project.product_rates)


def _in_precision(train: Stage, precision: Precision) -> Stage:
    """The stage of the same training in a precision."""
    parts = {**train.ingredients, **settings({"compute": {"precision": precision}})}
    return Stage(name=train.name, key=key_of(parts), ingredients=parts)


def _work_folder(project: Project, train: Stage) -> Path:
    return project.state / "training" / train.key


def _remembered(project: Project, config: RunConfig) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads((project.state / "pipelines" / f"{config.name}.json").read_text()))
    except (OSError, ValueError):
        return {}


def _stage(
    name: str,
    *,
    upstream: Mapping[str, str],
    config: Mapping[str, Any],
    modules: Iterable[str],
    libraries: Iterable[str],
    more: Mapping[str, str] | None = None,
) -> Stage:
    parts = {**ingredients(upstream=upstream, config=config, modules=modules, libraries=libraries), **(more or {})}
    return Stage(name=name, key=key_of(parts), ingredients=parts)
