"""Trainings on a GPU: reproducible, resumable, and the same for each way to load the batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from samples.trainings import CPU, StopAt, equal
from torch import nn
from training.fits import Fit, Linear, distance

from modelworks.errors import BadInput
from modelworks.training import data_loader
from modelworks.training.config import AugmentConfig
from modelworks.training.determinism import demand_determinism, refuse_nondeterminism
from modelworks.training.hardware import Hardware, Precision, environment
from modelworks.training.loop import Stopped

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # torch's compiler uses deprecated parts of torch and Python; torch is pinned.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "average and clipping": {"ema": 0.9, "clip_norm": 1.0},
    "accumulation": {"accumulate": 2},
    "augmentation": {"augment": AugmentConfig(shift=1, flip=True, crop=0.2, cutout=2)},
    "class weights": {"objective": {"class_weights": "balanced", "label_smoothing": 0.1}},
    "momentum": {"optimizer": "sgd"},
    "compiled": {"compile": True, "epochs": 1},
}


class Pooled(nn.Module):
    """A network with adaptive pooling to more than one place, whose backward is not deterministic on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(self.convolution(pixels))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def gpu(precision: Precision) -> Hardware:
    return Hardware(device="cuda", precision=precision, threads=1)


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set up this process like a trainer process."""
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch sets it up so
    for name, value in environment(gpu("fp32")).items():
        monkeypatch.setenv(name, value)
    for products in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(products, "allow_tf32", True)  # torch's compiler warns without it
    demand_determinism()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_training_on_a_gpu_repeats_and_resumes_with_the_same_bits(
    fit: Fit, precision: Precision, options: dict[str, Any]
) -> None:
    settings = {"hardware": gpu(precision), **options}
    expected, _ = fit("uninterrupted", **settings)
    assert next(expected.parameters()).is_cuda
    assert equal(expected, fit("again", **settings)[0])
    with pytest.raises(Stopped):
        fit("stopped", stop=StopAt(7), **settings)
    torch._dynamo.reset()  # like a new process
    assert equal(expected, fit("stopped", **settings)[0])


def test_rows_on_the_device_and_copied_batches_give_the_same_bits(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    resident, _ = fit("resident", hardware=gpu("fp32"))
    monkeypatch.setattr(data_loader, "_fits", lambda data: False)
    assert equal(resident, fit("copied", hardware=gpu("fp32"))[0])


def test_gpu_and_cpu_agree_up_to_rounding(fit: Fit) -> None:
    settings = {"network": Linear, "optimizer": "sgd", "epochs": 1}
    on_cpu, _ = fit("cpu", hardware=CPU, **settings)
    on_gpu, _ = fit("gpu", hardware=gpu("fp32"), **settings)
    assert distance(on_cpu, on_gpu.cpu()) < 1e-3


def test_adaptive_pooling_is_refused_on_a_gpu(fit: Fit) -> None:
    with (
        pytest.raises(BadInput, match=r"train\.deterministic: .*adaptive_avg_pool2d") as caught,
        refuse_nondeterminism(),
    ):
        fit(network=Pooled, hardware=gpu("fp32"))
    assert caught.value.code == "train.deterministic"
