"""The network of `plain.py` as an MLflow models-from-code file with weights in safetensors."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file
from torch import nn

CLASSES = 10


class Cnn(nn.Sequential):
    """The network of configs/mnist_cnn.yaml: pixels (n, 1, 28, 28) to logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 128),
            nn.ReLU(),
            nn.Linear(128, CLASSES),
        )


class Digits(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """Pixels of 0 to 255, (n, 28, 28), to class probabilities (n, 10)."""

    def load_context(self, context: PythonModelContext) -> None:
        tensors = load_file(context.artifacts["weights"])
        self.mean, self.std = tensors.pop("mean"), tensors.pop("std")
        self.network = Cnn()
        self.network.load_state_dict(tensors)
        self.network.eval()

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        pixels = torch.as_tensor(np.asarray(model_input), dtype=torch.float32).reshape(-1, 1, 28, 28)
        with torch.inference_mode():
            found: np.ndarray = self.network((pixels - self.mean) / self.std).softmax(-1).numpy()
        return found


mlflow.models.set_model(Digits())
