"""Compiled trainings: reproducible, resumable and equal to uncompiled ones up to rounding."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from samples.trainings import CPU, StopAt, equal
from torch import nn

from modelworks.errors import BadInput
from modelworks.models import transformer
from modelworks.preprocessing.preprocessed import PreprocessedDataset
from modelworks.training.compile import Compiled
from modelworks.training.loop import Stopped, Trained

Fit = Callable[..., tuple[nn.Module, Trained]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
    # torch's compiler uses deprecated parts of torch and Python; torch is pinned.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def _fresh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "compiled"))
    yield
    torch._dynamo.reset()


def test_compiled_training_is_reproducible_and_resumes(fit: Fit) -> None:
    options = {"compile": True, "epochs": 1}
    compiled, _ = fit("uninterrupted", **options)
    again, _ = fit("again", **options)
    assert equal(compiled, again)
    with pytest.raises(Stopped):
        fit("stopped", stop=StopAt(4), **options)
    torch._dynamo.reset()  # like a new process
    resumed, _ = fit("stopped", **options)
    assert equal(compiled, resumed)


def test_texts_have_few_shapes_and_the_same_outputs() -> None:
    torch.manual_seed(0)
    shape = {"vocabulary": 50, "padding": 0, "max_tokens": 40}
    model = transformer.build({"width": 8, "layers": 1, "heads": 2, "dropout": 0.0}, shape, 3)
    compiled = Compiled(model, shape, CPU)
    torch._dynamo.utils.counters.clear()
    for length in (3, 9, 16, 33, 40):
        tokens = torch.randint(1, 50, (4, length))
        mask = torch.ones(4, length, dtype=torch.bool)
        mask[0, length // 2 :] = False
        torch.testing.assert_close(compiled(tokens=tokens, mask=mask), model(tokens=tokens, mask=mask))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # 16 and 40 tokens


def test_model_that_cannot_be_compiled_is_bad_input(fit: Fit, pictures: PreprocessedDataset) -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(36, 2)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if float(pixels.sum()) > 0:  # a value that breaks the graph
                pixels = -pixels
            return self.layer(pixels.flatten(1))  # type: ignore[no-any-return]  # nn.Module calls are untyped

    with pytest.raises(BadInput) as caught:
        fit(network=Reading, compile=True)
    assert caught.value.code == "train.compile"


def test_compiled_training_differs_only_by_rounding(fit: Fit, pictures: PreprocessedDataset) -> None:
    def network() -> nn.Module:
        return Plain()

    compiled, _ = fit("compiled", compile=True, epochs=1, network=network)
    plain, _ = fit("plain", epochs=1, network=network)
    for one, two in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


class Plain(nn.Module):
    """A network without dropout, which the compiler draws differently."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layers(pixels)  # type: ignore[no-any-return]  # nn.Module calls are untyped
