"""The steps of every pipeline, from the digits of scikit-learn to a version in MLflow's registry.

Each step appends a line to the file STEP_EVENTS at its start and end, and the training at the end of each epoch; the
benchmark counts the lines.
"""

import json
import os
import time
from pathlib import Path

import mlflow
import numpy as np
import torch
from loss import smoothed
from mlflow import MlflowClient
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from torch import nn

NAME = "digits"
EPOCHS = int(os.environ["EPOCHS"])
BATCH = 32
TRACKING = f"sqlite:///{os.environ['PROJECT']}/mlflow.db"


def note(step: str, event: str, epoch: int = 0) -> None:
    """Append one event to the file."""
    with Path(os.environ["STEP_EVENTS"]).open("a") as events:
        events.write(json.dumps({"time": time.time(), "step": step, "event": event, "epoch": epoch}) + "\n")


def load() -> dict[str, np.ndarray]:
    """Return training and test rows: float32 images (n, 1, 8, 8) and int64 labels (n,)."""
    note("load", "start")
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[360:], order[:360]
    rows = {"x": images[train], "y": labels[train], "test_x": images[test], "test_y": labels[test]}
    note("load", "end")
    return rows


def check(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows if they are complete and in range."""
    note("check", "start")
    assert len(rows["x"]) > 1000
    assert np.bincount(rows["y"]).min() > 100
    assert 0 <= rows["x"].min() <= rows["x"].max() <= 1
    note("check", "end")
    return rows


def network() -> nn.Sequential:
    """Return the untrained network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))


def train(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the trained weights; log the loss of each epoch to an MLflow run."""
    note("train", "start")
    mlflow.set_tracking_uri(TRACKING)
    mlflow.set_experiment(NAME)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 0.002)
    x, y = torch.from_numpy(rows["x"]), torch.from_numpy(rows["y"])
    with mlflow.start_run():
        mlflow.log_param("epochs", EPOCHS)
        for epoch in range(1, EPOCHS + 1):
            for batch in torch.randperm(len(x)).split(BATCH):
                loss = smoothed(model(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            mlflow.log_metric("loss", loss.item(), epoch)
            note("train", "epoch", epoch)
    note("train", "end")
    return {name: each.numpy() for name, each in model.state_dict().items()}


def score(weights: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> float:
    """Return the accuracy on the test rows."""
    note("score", "start")
    model = network()
    model.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in weights.items()})
    with torch.inference_mode():
        found = model(torch.from_numpy(rows["test_x"])).argmax(-1).numpy()
    note("score", "end")
    return float((found == rows["test_y"]).mean())


def register(weights: dict[str, np.ndarray], accuracy: float) -> int:
    """Register the weights as a new version, make it production, and return its number."""
    note("register", "start")
    mlflow.set_tracking_uri(TRACKING)
    mlflow.set_experiment(NAME)
    client = MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", accuracy)
        file = Path(os.environ["PROJECT"]) / "weights.safetensors"
        save_file(weights, file)
        mlflow.log_artifact(str(file))
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    source = f"{run.info.artifact_uri}/weights.safetensors"
    version = client.create_model_version(NAME, source, run.info.run_id).version
    client.set_registered_model_alias(NAME, "production", version)
    note("register", "end")
    return int(version)
