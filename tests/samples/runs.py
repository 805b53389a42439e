"""A config and a data set for tests of tasks that do not depend on them."""

from __future__ import annotations

from pathlib import Path

from pipelines.commands import REPOSITORY
from samples.datasets import labelled

from modelworks.config import run_config as configuration
from modelworks.records import DatasetVersion

__all__ = ["CONFIG", "DATASET"]

CONFIG = configuration.load(
    REPOSITORY / "configs" / "digits_cnn.yaml", ["compute.device=cpu", "compute.precision=fp32"]
)
DATASET = DatasetVersion(
    name="digits",
    folder=Path("data/digits"),
    digest="0123456789abcdef0123456789abcdef.dir",
    features=labelled("image", ("0", "1")),
    rows=10,
    source={},
    licence="",
)
