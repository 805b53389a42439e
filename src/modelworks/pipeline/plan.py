"""Plan a run: compute the key of each stage whose inputs exist.

A key depends on the content of the outputs that the stage reads, not on their keys. So a stage that runs again and
gives the same bytes does not change later stages (early cutoff). `run` and `why` both use this plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from modelworks.config.run_config import RunConfig
from modelworks.files.digest import json_digest
from modelworks.modalities.base import processor_class
from modelworks.models.pretrained_weights import identity
from modelworks.pipeline.cache_keys import ingredients, library_versions, sources
from modelworks.pipeline.code_digest_memo import code_digests
from modelworks.pipeline.scope import (
    AUGMENTATION,
    check_modules,
    model_libraries,
    preprocessing_fields,
    train_fields,
    unused_modules,
)
from modelworks.pipeline.stage import Stage, make_stage
from modelworks.pipeline.stage_store import StageStore
from modelworks.pipeline.train_precision import in_precision, with_precision
from modelworks.project import Project
from modelworks.records import DatasetVersion
from modelworks.training.machine.detect import detect

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STAGES", "STORED", "Plan"]

STAGES = ("ingest", "validate", "train", "score", "register", "gate", "promote")
STORED = ("validate", "train", "score")
"""The stages whose output is in the stage store. The registry stores the others."""

RECORD = "record.json"


class Plan:
    """The stages of a config and a data version, except ingest and promote, which have no key.

    A plain class, not a dataclass: Prefect searches dataclasses for futures.
    """

    def __init__(self, project: Project, config: RunConfig, dataset: DatasetVersion) -> None:
        """
        Raises:
            BadInput: the config requires hardware that this machine does not have.
        """
        self.project, self.config, self.dataset = project, config, dataset
        self.hardware = detect(config.compute)
        """The precision may be undecided until the key of `train` is known."""
        self.store = StageStore(project.stages)
        self.unused = unused_modules(config, self.hardware)
        self._processor = processor_class(config.model.modality)
        self._known: dict[str, Stage] = {}

    @property
    def known(self) -> tuple[Stage, ...]:
        """The stages whose keys have been computed, in order."""
        return tuple(self._known[name] for name in STAGES if name in self._known)

    def find(self, name: str) -> Stage | None:
        """Return a stage; None while an output that it reads is not in the store.

        Raises:
            BadInput, Corrupt, Unavailable: the pretrained checkpoint cannot be identified.
        """
        if name not in self._known:
            make: dict[str, Callable[[], Stage | None]] = {
                "validate": self._validate,
                "train": self._train,
                "score": self._score,
                "register": self._register,
                "gate": self._gate,
            }
            found = make[name]()
            if found is None:
                return None
            self._known[name] = found
        return self._known[name]

    def stage(self, name: str) -> Stage:
        """Return a stage whose inputs are in the store."""
        found = self.find(name)
        assert found is not None, f"an input of {name} is not in the store"
        return found

    def content(self, name: str) -> str | None:
        """Return the digest of what later stages read of an output; None if it is not stored."""
        stage = self.find(name)
        files = self.store.files(name, stage.key) if stage is not None else None
        if stage is None or files is None:
            return None
        if name == "validate":
            return str(files["splits.npy"]["sha256"])
        if name == "score":
            return str(files["predictions.parquet"]["sha256"])
        return _model_digest(self.store.folder(name, stage.key), files)

    @property
    def preprocessed_key(self) -> str:
        """The key of the preprocessed rows, which depend on less than the training does."""
        checkpoint = identity(self.config.model, self.project.root)
        # A checkpoint has its own tokenizer, which its architecture loads.
        own = [f"modelworks.models.{self.config.model.kind}"] if checkpoint else []
        return json_digest(
            {
                "dataset": self.dataset.digest,
                "splits": self.content("validate"),
                "model": preprocessing_fields(self.config),
                "code": sources(
                    [
                        "modelworks.preprocessing.preprocessed",
                        f"modelworks.modalities.{self.config.model.modality}",
                        *own,
                    ],
                    {*self.unused, *AUGMENTATION},
                ),
                "libraries": library_versions(("numpy", *self._processor.libraries)),
                "checkpoint": checkpoint,
            }
        )

    def _validate(self) -> Stage:
        return make_stage(
            "validate",
            ingredients(
                upstream={"ingest": self.dataset.digest},
                config=self.config.section("split", "checks"),
                modules=[
                    "modelworks.validation.validate",
                    f"modelworks.modalities.{self.config.model.modality}_facts",
                    *check_modules(self.config.objective.kind),
                ],
                libraries=("great-expectations", "pandas", "numpy", "pyarrow", *self._processor.fact_libraries),
                without=self.unused,
            ),
        )

    def _train(self) -> Stage | None:
        splits, model, hardware = self.content("validate"), self.config.model, self.hardware
        if splits is None:
            return None
        parts = ingredients(
            upstream={"ingest": self.dataset.digest, "validate": splits},
            config={
                **self.config.section("model", "objective"),
                "train": train_fields(self.config),
                "compute": {
                    "device": hardware.device,
                    "precision": hardware.precision,
                    "threads": hardware.threads,
                    "processes": hardware.processes,
                    "shard": hardware.shard,
                },
            },
            modules=[
                "modelworks.training.__main__",
                f"modelworks.models.{model.kind}",
                f"modelworks.modalities.{model.modality}",
                f"modelworks.objectives.{self.config.objective.kind}",
            ],
            libraries=("safetensors", *model_libraries(self.config)),
            without=self.unused,
        )
        train = make_stage("train", {**parts, **identity(model, self.project.root)})
        self.hardware = with_precision(self.project, model.operations, hardware, train)
        return in_precision(train, self.hardware.precision)

    def _score(self) -> Stage | None:
        splits, model = self.content("validate"), self.content("train")
        if splits is None or model is None:
            return None
        settings = self.config.evaluate
        return make_stage(
            "score",
            ingredients(
                upstream={"ingest": self.dataset.digest, "validate": splits, "train": model},
                config={"evaluate": {"confidence": settings.confidence, "resamples": settings.resamples}},
                modules=[
                    "modelworks.evaluation.evaluate",
                    f"modelworks.objectives.{self.config.objective.kind}",
                    f"modelworks.modalities.{self.config.model.modality}_fingerprints",
                ],
                libraries=model_libraries(self.config),
                without=self.unused,
            ),
        )

    def _register(self) -> Stage | None:
        model, predictions = self.content("train"), self.content("score")
        if model is None or predictions is None:
            return None
        # Libraries and packaging code do not count: the same model with the same predictions is the same version.
        code = sources(["modelworks.registry.packaging.pyfunc_model"], self.unused)
        return make_stage(
            "register",
            {
                "result of train": model,
                "result of score": predictions,
                "name": self.config.name,
                "source of modelworks.registry.packaging.pyfunc_model": code[
                    "modelworks.registry.packaging.pyfunc_model"
                ],
            },
        )

    def _gate(self) -> Stage | None:
        register, score = self.find("register"), self.find("score")
        if register is None or score is None:
            return None
        record = json.loads((self.store.folder("score", score.key) / RECORD).read_text())
        slices = self.config.gate.slices
        columns = slices is not None and not {*slices.by} <= {*self.config.objective.targets}
        figures = {name: found["value"] for name, found in record["metrics"].items()}
        repeated = (self.store.files("score", score.key) or {}).get("near_duplicates.json", {}).get("sha256")
        return make_stage(
            "gate",
            ingredients(
                upstream={
                    "register": register.key,
                    "score": json_digest({"metrics": figures, "baseline": record["baseline"], "repeated": repeated}),
                    **({"ingest": self.dataset.digest} if columns else {}),
                },
                config=self.config.section("gate"),
                modules=[
                    "modelworks.evaluation.gate.decision",
                    f"modelworks.objectives.{self.config.objective.kind}",
                ],
                libraries=("numpy",),
                without=self.unused,
            ),
        )


def _model_digest(folder: Path, files: Mapping[str, Mapping[str, str]]) -> str:
    """Return the digest of a saved model: of sources the code digest, of other files the bytes."""
    inside = {name: each["sha256"] for name, each in files.items() if name.startswith("model/")}
    inside.pop("model/manifest.json")
    sources = {name: (folder / name).read_bytes() for name in inside if name.endswith(".py")}
    return json_digest({**inside, **code_digests(sources)})
