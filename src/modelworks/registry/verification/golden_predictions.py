"""Golden predictions: test rows stored with a version, and what it must predict for them.

`probe.parquet`: id, content (binary or string), and the predicted columns of predictions.parquet.
Versions of earlier releases, all classifiers, have label and probabilities (map from label to float) instead.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, Refused
from modelworks.models.serialization import read_objective
from modelworks.registry.packaging.build import saved_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from modelworks.objectives.row_statistics import Columns
    from modelworks.records import Evaluation
    from modelworks.registry.verification.isolated_process import IsolatedModel

__all__ = ["FILE", "ROWS", "TOLERANCE", "check", "write"]

FILE = "probe.parquet"
ROWS = 32
"""Number of test rows, spread evenly over the test set."""
TOLERANCE = 1e-3
"""Largest accepted `Objective.disagreement`, caused by other batches, threads or processors."""
HINT = "compare the installed libraries with the package's requirements.txt"


def write(evaluation: Evaluation, folder: Path) -> Path:
    """Write rows of an evaluation with their predictions; return the file."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    from modelworks.data import dataset_format

    dataset = evaluation.trained.report.dataset
    predictions = pa.parquet.read_table(evaluation.folder / "predictions.parquet")
    chosen = np.unique(np.linspace(0, predictions.num_rows - 1, ROWS).astype(int))
    predictions = predictions.take(chosen)
    examples = dataset_format.read(dataset.folder, ["id", *dataset.targets, dataset.input]).take(predictions["row"])
    if examples["id"].to_pylist() != predictions["id"].to_pylist():
        raise Corrupt(
            f"{evaluation.folder / 'predictions.parquet'} does not match the rows of {dataset.folder}",
            "run again: the data changed after scoring",
            code="stage.damaged",
        )
    targets = {name: examples[name].to_pylist() for name in dataset.targets}
    truth = read_objective(evaluation.trained.model_folder).encode(targets)
    table = predictions.drop_columns(["row", *truth]).append_column("content", examples[dataset.input])
    pa.parquet.write_table(table.replace_schema_metadata(None), folder / FILE, compression="zstd")
    return folder / FILE


def check(process: IsolatedModel, package: Path, golden: Path) -> dict[str, Any]:
    """Predict the rows in the isolated process; return what was compared, for the audit log.

    Raises:
        Refused: the model does not load, or its predictions differ from those of its evaluation.
        Unavailable: the isolated process died.
    """
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(golden)
    contents = [
        base64.b64encode(content).decode() if isinstance(content, bytes) else content
        for content in rows["content"].to_pylist()
    ]
    found, expected = (_compared if _has_columns(package) else _compared_format_1)(process, package, contents, rows)
    objective, worst = read_objective(saved_model(package)), 0.0
    for row, name in enumerate(rows["id"].to_pylist()):
        difference = objective.disagreement(*(_row(columns, row) for columns in (found, expected)))
        # Not `>`, so that NaN fails too.
        if not difference <= TOLERANCE:
            raise Refused(
                "the predictions of the loaded model differ from its evaluation: its answer to test row "
                f"{name[:12]} differs by {difference:.2g}, more than {TOLERANCE:g}",
                HINT,
                code="version.other-predictions",
            )
        worst = max(worst, difference)
    return {"probe_rows": rows.num_rows, "largest_difference": round(worst, 8), "tolerance": TOLERANCE}


def _has_columns(package: Path) -> bool:
    return "format" in json.loads((saved_model(package) / "model.json").read_bytes())


def _compared(
    process: IsolatedModel, package: Path, contents: Sequence[str], rows: pa.Table
) -> tuple[Columns, Columns]:
    """Return the columns that the model predicts now, and those of its evaluation."""
    import numpy as np

    expected = {name: _array(rows[name]) for name in rows.column_names if name not in ("id", "content")}
    _, found = process.ask(package, contents, {})
    if found.keys() != expected.keys():
        raise Refused(
            f"the loaded model predicts {sorted(found)}, its evaluation {sorted(expected)}",
            "run again",
            code="version.other-predictions",
        )
    return {name: np.asarray(found[name], each.dtype) for name, each in expected.items()}, expected


def _compared_format_1(
    process: IsolatedModel, package: Path, contents: Sequence[str], rows: pa.Table
) -> tuple[Columns, Columns]:
    """Return the same for a version of format 1, whose answers have probabilities by class."""
    expected = [dict(row) for row in rows["probabilities"].to_pylist()]
    names = list(expected[0])
    answers, _ = process.ask(package, contents, {"top_k": len(names)})
    found = [answer["probabilities"] for answer in answers]
    for wanted, got in zip(expected, found, strict=True):
        if wanted.keys() != got.keys():
            raise Refused(
                f"the loaded model has the classes {sorted(got)}, its evaluation {sorted(wanted)}",
                "run again",
                code="version.other-predictions",
            )
    return _by_class(found, names), _by_class(expected, names)


def _by_class(probabilities: Sequence[Mapping[str, float]], names: Sequence[str]) -> Columns:
    import numpy as np

    return {"probabilities": np.array([[row[name] for name in names] for row in probabilities])}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, or of lists of equal length, as (rows,) or (rows, length)."""
    import numpy as np
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    return np.array(column.to_pylist(), dtype=kind.to_pandas_dtype())


def _row(columns: Columns, row: int) -> Columns:
    return {name: values[row : row + 1] for name, values in columns.items()}
