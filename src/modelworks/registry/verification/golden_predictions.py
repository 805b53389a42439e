"""A few test rows kept with a registered version, and what it must say of them wherever it is loaded.

`probe.parquet`: id, content (binary or string), label, probabilities (map from label to float).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.records import Evaluation
    from modelworks.registry.verification.isolated_process import IsolatedModel

__all__ = ["FILE", "ROWS", "TOLERANCE", "check", "write"]

FILE = "probe.parquet"
ROWS = 32
"""Test rows kept, spread evenly over all of them."""
TOLERANCE = 1e-3
"""Largest difference of a probability: what another batch, thread count or processor may change, and no more."""


def write(evaluation: Evaluation, folder: Path) -> Path:
    """Keep rows of an evaluation with its probabilities; returns the file."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    from modelworks.data import dataset_format

    dataset = evaluation.trained.report.dataset
    predictions = pa.parquet.read_table(evaluation.folder / "predictions.parquet")
    chosen = np.unique(np.linspace(0, predictions.num_rows - 1, ROWS).astype(int))
    predictions = predictions.take(chosen)
    examples = dataset_format.read(dataset.folder, ["id", "label", dataset.modality]).take(predictions["row"])
    if examples["id"].to_pylist() != predictions["id"].to_pylist():
        raise Corrupt(
            f"{evaluation.folder / 'predictions.parquet'} was not made from the rows of {dataset.folder}",
            "run again: the data has changed since",
        )
    probabilities = [list(zip(dataset.classes, row, strict=True)) for row in predictions["probabilities"].to_pylist()]
    table = pa.table(
        {
            "id": examples["id"],
            "content": examples[dataset.modality],
            "label": examples["label"],
            "probabilities": pa.array(probabilities, pa.map_(pa.string(), pa.float32())),
        }
    )
    pa.parquet.write_table(table, folder / FILE, compression="zstd")
    return folder / FILE


def check(witness: IsolatedModel, package: Path, probe: Path) -> dict[str, Any]:
    """Ask the package about the rows; returns what was compared, for the journal.

    Raises:
        Refused: it does not load, or says anything else than the evaluation did.
        Unavailable: the fresh process died.
    """
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(probe).to_pylist()
    contents = [
        base64.b64encode(row["content"]).decode() if isinstance(row["content"], bytes) else row["content"]
        for row in rows
    ]
    expected = [dict(row["probabilities"]) for row in rows]
    found = witness.ask(package, contents, top_k=len(expected[0]))
    worst = 0.0
    for row, wanted, got in zip(rows, expected, found, strict=True):
        if wanted.keys() != got.keys():
            raise Refused(
                f"the loaded model knows the classes {sorted(got)}, its evaluation {sorted(wanted)}", "run again"
            )
        difference = max(abs(wanted[label] - got[label]) for label in wanted)
        # Written so that a NaN is refused as well.
        if not difference <= TOLERANCE:
            raise Refused(
                f"the loaded model does not say what it said in its evaluation: of test row {row['id'][:12]} a "
                f"probability differs by {difference:.2g}, more than {TOLERANCE:g}",
                "compare the installed libraries with the package's requirements.txt",
            )
        worst = max(worst, difference)
    return {"probe_rows": len(rows), "largest_difference": round(worst, 8), "tolerance": TOLERANCE}
