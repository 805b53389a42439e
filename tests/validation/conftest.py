"""Fixtures that write small data sets and validate them as the stage's task does."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from samples.datasets import labelled

from modelworks.data import dataset_format
from modelworks.data.sources import Examples
from modelworks.data.splits import SplitConfig
from modelworks.pipeline.stage_store import StageStore
from modelworks.records import DatasetVersion, ValidationReport
from modelworks.validation.config import ChecksConfig
from modelworks.validation.validate import validate

Validate = Callable[..., ValidationReport]
Png = Callable[..., bytes]


@pytest.fixture(scope="session", autouse=True)
def _great_expectations() -> None:
    """Import Great Expectations once, ignoring its own deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("great_expectations")


@pytest.fixture(scope="session")
def png() -> Png:
    """Return a function that makes a grey PNG of random pixels from a seed."""
    from PIL import Image

    def make(seed: int, size: tuple[int, int] = (6, 8)) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, size=size[::-1], dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        return stream.getvalue()

    return make


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., DatasetVersion]:
    """Return a function that writes columns as a data set."""

    def make(columns: Mapping[str, Sequence[Any]], name: str = "own") -> DatasetVersion:
        modality = "image" if "image" in columns else "text"
        arrays = {
            column: pa.array(values, pa.binary() if column == "image" else pa.string())
            for column, values in columns.items()
        }
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        examples = Examples(features=labelled(modality), columns=arrays, licence="own", source_digest="0" * 64)
        dataset_format.write(folder, name, {"kind": "table"}, examples)
        described = dataset_format.describe(folder)
        return DatasetVersion(
            name=name,
            folder=folder,
            digest="0" * 32 + ".dir",
            features=dataset_format.features(described),
            rows=described["rows"],
            source=described["source"],
            licence="own",
        )

    return make


@pytest.fixture
def validated(tmp_path: Path, pack: Callable[..., DatasetVersion]) -> Validate:
    """Return a function that writes columns as a data set and validates it, with minimal requirements by default."""

    def run(columns: Mapping[str, Sequence[Any]], split: SplitConfig | None = None, **checks: Any) -> ValidationReport:
        store = StageStore(tmp_path / "stages")
        required = ChecksConfig(**{"min_rows": 2, "min_per_class": 1, **checks})
        folder = store.folder("validate", "key")
        with store.write("validate", "key", {}) as temporary:
            return validate(
                pack(columns),
                "classification",
                split or SplitConfig(test=0.4),
                required,
                key="key",
                folder=folder,
                temporary=temporary,
            )

    return run


@pytest.fixture
def texts() -> Callable[..., dict[str, list[Any]]]:
    """Return a function that makes columns of different texts, half good and half bad."""

    def make(rows: int = 40) -> dict[str, list[Any]]:
        labels = ["good", "bad"]
        return {
            "text": [f"this is just the text number {row}" for row in range(rows)],
            "label": [labels[row % 2] for row in range(rows)],
        }

    return make
