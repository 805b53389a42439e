"""`modelworks run --print-config`: the complete config, with every field that the file leaves out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from modelworks.cli.output import print_json
from modelworks.config import run_config as configuration

__all__ = ["print_config"]


def print_config(config: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print a config as it is keyed, recorded and trained with: as YAML that is itself a config, or as JSON.

    Raises:
        BadInput: the config has mistakes.
    """
    from ruamel.yaml import YAML

    complete = configuration.load(config, overrides)
    values = complete.section(*(field.name for field in dataclasses.fields(complete)))
    if as_json:
        print_json(values)
        return
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # in the order of the sections
    yaml.dump(values, sys.stdout)
