"""Choose the precision for `compute.precision: auto`: the recorded one, else by measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.pipeline.cache_keys import settings
from modelworks.pipeline.stage import Stage, make_stage
from modelworks.pipeline.stage_store import StageStore
from modelworks.training.machine.precision import choose, recorded

if TYPE_CHECKING:
    from modelworks.project import Project
    from modelworks.training.hardware import Hardware, Precision

__all__ = ["in_precision", "with_precision"]


def with_precision(project: Project, operations: tuple[str, ...], found: Hardware, train: Stage) -> Hardware:
    """Return the hardware with the precision that `auto` chooses on a CPU.

    A training that has started or finished under the same key keeps its choice, so that a new measurement cannot
    prevent that it is resumed or reused.

    Args:
        project: has the trainings and the measured rates.
        operations: that take most of the architecture's time; they are measured.
        found: the hardware; its precision is undecided if the config has `auto`.
        train: the train stage with any precision.
    """
    if found.precision_source not in ("undecided", "cpu_flags"):
        return found
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        stage = in_precision(train, precision)
        begun = project.state / "training" / stage.key / "job.json"
        done = StageStore(project.stages).folder(stage.name, stage.key) / "record.json"
        kept = recorded(found, precision, (begun, done))
        if kept is not None:
            return kept
    return choose(found, operations, project.product_rates)


def in_precision(train: Stage, precision: Precision) -> Stage:
    """Return the same training stage with another precision."""
    return make_stage(train.name, {**train.ingredients, **settings({"compute": {"precision": precision}})})
