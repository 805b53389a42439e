"""Hardware detection without torch, and precedence of the config."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modelworks.errors import BadInput
from modelworks.models.config import Cnn, Pretrained, Transformer
from modelworks.models.pretrained_weights import locate
from modelworks.training.config import ComputeConfig
from modelworks.training.hardware import Hardware
from modelworks.training.job import Job
from modelworks.training.machine.detect import detect


def test_auto_detects_the_same_device_as_torch() -> None:
    found = detect(ComputeConfig())
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.threads == len(os.sched_getaffinity(0))


def test_configured_hardware_takes_precedence() -> None:
    assert detect(ComputeConfig(device="cpu", precision="fp32", threads=3)) == Hardware(
        device="cpu", precision="fp32", threads=3
    )
    assert detect(ComputeConfig(device="cpu", precision="bf16")).precision == "bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_gpu_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"compute\.device") as caught:
        detect(ComputeConfig(device="cuda"))
    assert caught.value.code == "compute.no-gpu"


def test_detection_does_not_import_torch() -> None:
    program = (
        "import sys\nfrom modelworks.training.machine.detect import detect\n"
        "from modelworks.training.config import ComputeConfig\n"
        "detect(ComputeConfig())\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    "model",
    [Cnn(kind="cnn", hidden=3), Transformer(kind="transformer"), Pretrained(kind="pretrained", checkpoint="minilm")],
    ids=lambda model: model.kind,
)
def test_job_round_trips_through_json(
    make_job: Callable[..., Job], tmp_path: Path, model: Cnn | Transformer | Pretrained
) -> None:
    job = dataclasses.replace(make_job(tmp_path, seed=3), model=model, checkpoint=locate(model, tmp_path))
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job
