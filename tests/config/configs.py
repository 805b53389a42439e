"""Configs and their errors, for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelworks.config.run_config import load
from modelworks.errors import BadInput

PLAIN = """\
name: my-model
source:
  kind: digits
model:
  kind: cnn
train:
  epochs: 3
gate:
  minimums: {accuracy: 0.9}
"""


def rejection(path: Path, *overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        load(path, overrides)
    return str(caught.value).replace(str(path), path.name)
