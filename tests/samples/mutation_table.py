"""Edits and the keys that each changes."""

from __future__ import annotations

from dataclasses import dataclass

UNUSED = "\nUNUSED = 1\n"

NEW_KIND = '''

@dataclass(frozen=True, kw_only=True)
class Mlp:
    """One hidden layer."""

    modality = "image"

    kind: Literal["mlp"]
'''

PAGES = "evaluation_page gate_page"


@dataclass(frozen=True)
class Row:
    """An edit and the keys that it changes."""

    edit: str
    changes: str
    edits: tuple[tuple[str, str, str], ...] = ()
    set: tuple[str, ...] = ()
    data: str = ""
    library: str = ""

    @property
    def may_register(self) -> bool:
        """Whether a new version is possible: the model, its predictions, its name or its serving code may differ."""
        return bool({"train", "score", "register"} & {*self.changes.split()})


def code(edit: str, changes: str, file: str, old: str = "", new: str = UNUSED) -> Row:
    return Row(edit, changes, edits=((file, old, new),))


def config(field: str, changes: str) -> Row:
    return Row(field, changes, set=(field,))


def library(name: str, changes: str) -> Row:
    return Row(f"another {name}", changes, library=name)


# fmt: off
TABLE = (
    # Comments and messages
    code("a comment in every module", "", "*", "", "\n# A remark.\n"),
    code("a docstring of the loop", "", "training/loop.py", '"""The training loop, in', '"""A training loop, in'),
    code("a message in errors.py", "", "errors.py", "run the same command again: it resumes", "run it again"),
    code("new code in errors.py", "", "errors.py"),
    code("a message that the trainer raises", "", "training/optimization/train_step.py", "raise train.accumulate, lower", "lower"),
    code("a message of a diverged loss", "", "training/fit.py", "events.jsonl lists all rows of the batch", "see events.jsonl"),
    code("a log message of decoding", "", "preprocessing/preprocessed.py", "%s: %s: the rows are decoded again", "%s %s"),
    code("a message about full disks", "", "files/atomic_files.py", "no inodes left while writing", "no inodes while writing"),
    # Kinds that the pipeline does not use
    Row("a new file in models/ with its section", "", edits=(("models/mlp.py", "", UNUSED), ("models/config.py", "", NEW_KIND))),
    code("a default of another kind's section", "", "models/config.py", "8000", "9000"),
    code("another architecture", "", "models/transformer.py"),
    code("another modality", "", "modalities/text.py"),
    code("facts of another modality", "", "modalities/text_facts.py"),
    code("near-duplicates of another modality", "", "modalities/text_fingerprints.py"),
    code("another source", "", "data/sources/table.py"),
    code("Ray", "", "training/launchers/ray_train.py"),
    code("several processes", "", "training/distributed/ddp.py"),
    code("sharding", "", "training/distributed/fsdp.py"),
    code("torch.compile", "", "training/compile.py"),
    code("the launcher of the trainer", "", "training/launchers/local.py"),
    # Code that stores and registers
    code("the stage store", "", "pipeline/stage_store.py"),
    code("packing of a version", "", "registry/packaging/build.py"),
    code("registration", "", "registry/versions/registration.py"),
    code("promotion", "", "registry/production/promotion.py"),
    code("the serving code of a package", "register gate gate_page", "registry/packaging/pyfunc_model.py"),
    # Code that computes
    code("an unused constant of the loop", "train", "training/loop.py"),
    code("a helper of the loss", "train", "training/optimization/train_step.py", "training=True) / weight", "training=True) / weight / 2"),
    code("the learning rate's schedule", "train", "training/optimization/lr_schedule.py"),
    code("the architecture", "train", "models/cnn.py"),
    code("the modality", "train preprocess", "modalities/image.py"),
    code("preprocessing", "train preprocess", "preprocessing/preprocessed.py"),
    code("a check that every data set must pass", "validate data_docs", "validation/checks.py"),
    code("facts of the modality", "validate data_docs", "modalities/image_facts.py"),
    code("intervals of metrics", "score gate evaluation_page gate_page", "evaluation/statistics/bootstrap.py"),
    code("near-duplicates of the modality", "score evaluation_page", "modalities/image_fingerprints.py"),
    code("the gate's decision", "gate gate_page", "evaluation/gate/decision.py"),
    code("limits on slices", "gate gate_page", "evaluation/gate/slice_checks.py"),
    # Pages
    code("a colour in the pages", f"data_docs {PAGES}", "html_page.py", "#1f2933", "#000000"),
    code("a colour of the pictures", PAGES, "evaluation/reports/plots.py"),
    code("the evaluation page", "evaluation_page", "evaluation/reports/evaluation_page.py"),
    code("the gate's page", "gate_page", "evaluation/reports/gate_page.py"),
    code("the rendering of Data Docs", "data_docs", "validation/data_docs.py"),
    code("a heading of Data Docs", "data_docs", "validation/data_docs.py", "<th>expectation</th>", "<th>expected</th>"),
    # The config
    config("train.epochs=7", "train"),
    config("train.checkpoint_seconds=60", ""),
    config("train.checkpoint_steps=10", ""),
    config("train.seed=1", "train"),
    config("model.hidden=32", "train"),
    config("model.dropout=0.1", "train"),
    config("model.size=16", "train preprocess"),
    config("compute.threads=3", "train"),
    config("compute.processes=2", "train"),
    config("checks.min_rows=900", "validate data_docs"),
    config("checks.expect=[]", "validate data_docs"),
    config("split.salt=other", "validate data_docs"),
    config("evaluate.resamples=300", "score evaluation_page"),
    config("evaluate.worst=3", "evaluation_page"),
    config("gate.max_regression=0.5", "gate gate_page"),
    config("gate.minimums.accuracy=0.5", "gate gate_page"),
    config("schedule.cron=0 3 * * *", ""),
    config("name=other", "register gate gate_page"),
    # The data
    Row("one row relabelled", "validate data_docs train preprocess score evaluation_page", data="f" * 32 + ".dir"),
    # Libraries
    library("torch", "train score evaluation_page"),
    library("pillow", "validate data_docs train preprocess score evaluation_page gate_page"),
    library("great-expectations", "validate data_docs"),
    library("matplotlib", PAGES),
    library("mlflow", ""),
)
