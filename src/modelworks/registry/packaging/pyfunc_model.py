"""The serving code of a package for `mlflow models serve` and `mlflow.pyfunc.load_model`.

MLflow executes this file from the package ("models from code"). It needs the standard library, mlflow, numpy and
pandas, and the model's `saved.py`, whose imports are in the package's requirements. modelworks need not be installed,
and no pickle is read.

Input: one column of any name, with texts or images; images are encoded files (PNG, JPEG, PGM, ...) as bytes, or as
base64 in a string.
Output: one row per input with the answers of the model's objective. For a classifier these are `label` and
`probability` of the most probable class; with `params={"top_k": k}` and k > 1 also `probabilities`: a dict of the k
most probable labels, most probable first.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np


class ServedModel(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """A saved model with MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify the saved model and load it with its own code."""
        folder = Path(context.artifacts["model"])
        self.model = _run_saved(folder).load(folder)

    def predict(
        self,
        context: PythonModelContext,  # MLflow passes it by this name
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the answers for one column; the index of the input is kept."""
        top_k = int((params or {}).get("top_k", 1))
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1")
        column, objective = model_input.iloc[:, 0], self.model.objective
        answers = objective.answers(self.columns(column), top_k)
        # Without rows pandas cannot infer the columns.
        return pd.DataFrame(answers, index=column.index, columns=None if answers else [*objective.answer_columns])

    def columns(self, contents: pd.Series[Any]) -> dict[str, np.ndarray]:
        """Return the predicted columns, from which the answers are computed."""
        found: dict[str, np.ndarray] = self.model.predict(
            [self._content(row, value) for row, value in enumerate(contents)]
        )
        return found

    def _content(self, row: int, value: Any) -> Any:
        """Return a cell as the model's input; reject a missing value."""
        processor = self.model.processor
        if pd.api.types.is_scalar(value) and pd.isna(value):
            raise ValueError(f"row {row} is missing: give {processor.content_name}, or leave the row out")
        try:
            return processor.from_json(value)
        except ValueError as error:
            raise ValueError(f"row {row} {error}") from None


def _run_saved(folder: Path) -> ModuleType:
    """Run the package's saved.py as a module named after its digest.

    The name lets several versions be loaded. The bytes are compared with the manifest first; saved.py then verifies all
    other files. Compiling the source here means that no cached compiled file can run instead.
    """
    source = (folder / "saved.py").read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    if json.loads((folder / "manifest.json").read_bytes()).get("saved.py", {}).get("sha256") != digest:
        raise RuntimeError(
            f"{folder / 'saved.py'} differs from what was saved: the package is damaged, download it again"
        )
    name = f"_modelworks_saved_{digest[:16]}"
    if name not in sys.modules:
        module = importlib.util.module_from_spec(
            importlib.machinery.ModuleSpec(name, None, origin=str(folder / "saved.py"))
        )
        sys.modules[name] = module
        try:
            exec(compile(source, str(folder / "saved.py"), "exec"), module.__dict__)
        except BaseException:  # a partly executed module must not stay in sys.modules
            del sys.modules[name]
            raise
    return sys.modules[name]


mlflow.models.set_model(ServedModel())
