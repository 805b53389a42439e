"""`modelworks run --print-config`: print the config with every default filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelworks.cli.output import print_json
from modelworks.config import run_config as configuration

__all__ = ["print_config"]


def print_config(config: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print the complete config as YAML, which is itself a valid config, or as JSON.

    Raises:
        BadInput: the config has mistakes.
    """
    complete = configuration.load(config, overrides)
    if as_json:
        print_json(complete.values)
    else:
        print(complete.text, end="")
