"""The code inside every package: what `mlflow models serve` and `mlflow.pyfunc.load_model` run.

MLflow executes this file from the package ("models from code"). It needs the standard library, mlflow, numpy and
pandas; the model brings its own `saved.py`, whose imports are in the package's requirements. Nothing of the project
that made it has to be installed, and no pickle is read.

Input: one column, whatever its name (MLflow passes on the first), of texts, or of images: encoded files (PNG, JPEG,
PGM, ...) as bytes, or as base64 in a string.
Output: a row per input with `label` and `probability` of the most probable class. With `params={"top_k": k}` and
k > 1 also `probabilities`: a dict of the k most probable labels, the most probable first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from types import ModuleType


class Classifier(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """A saved model behind MLflow's interface."""

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
        """Classify one column of contents; the index of the input is kept."""
        top_k = int((params or {}).get("top_k", 1))
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1")
        column = model_input.iloc[:, 0]
        found = self.model.probabilities([self._content(row, value) for row, value in enumerate(column)])
        labels = self.model.labels
        order = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
        best = order[:, 0]
        answer = pd.DataFrame(
            {"label": [labels[each] for each in best], "probability": found[np.arange(len(found)), best].astype(float)},
            index=column.index,
        )
        if top_k > 1:
            ranked = [
                {labels[each]: float(row[each]) for each in places} for row, places in zip(found, order, strict=True)
            ]
            answer["probabilities"] = pd.Series(ranked, index=column.index, dtype=object)
        return answer

    def _content(self, row: int, value: Any) -> str | bytes:
        """A cell as the model takes it; a missing one is refused, for its text would be "None"."""
        wanted = "an image" if self.model.modality == "image" else "a text"
        if value is None or value is pd.NA or isinstance(value, float):
            raise ValueError(f"row {row} is missing: give {wanted}, or leave the row out")
        if self.model.modality == "image":
            if isinstance(value, bytes | bytearray):
                return bytes(value)
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError, TypeError):
                raise ValueError(f"row {row} is not an image: give its file's bytes, or them in base64") from None
        if isinstance(value, bytes | bytearray):
            return bytes(value).decode()
        if not isinstance(value, str):
            raise ValueError(f"row {row} is {type(value).__name__}: give a text")
        return value


def _run_saved(folder: Path) -> ModuleType:
    """The package's own saved.py, run under a private name made of its digest, so that versions live side by side.

    Its bytes are compared with the manifest before they run; it then verifies all other files itself. Reading and
    compiling the source here means that no compiled file beside it can run in its place.
    """
    source = (folder / "saved.py").read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    if json.loads((folder / "manifest.json").read_bytes()).get("saved.py", {}).get("sha256") != digest:
        raise RuntimeError(f"{folder / 'saved.py'} is not what was saved: the package is damaged, get it anew")
    name = f"_modelworks_saved_{digest[:16]}"
    if name not in sys.modules:
        module = importlib.util.module_from_spec(
            importlib.machinery.ModuleSpec(name, None, origin=str(folder / "saved.py"))
        )
        sys.modules[name] = module
        try:
            exec(compile(source, str(folder / "saved.py"), "exec"), module.__dict__)
        except BaseException:  # whatever it was: half a module must not be found the next time
            del sys.modules[name]
            raise
    return sys.modules[name]


mlflow.models.set_model(Classifier())
