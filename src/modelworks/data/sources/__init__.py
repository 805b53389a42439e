"""The kinds of data source, one config class each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelworks.data.sources.base import Examples, Source
from modelworks.data.sources.bundled import Digits, Fashion, Mnist5k, Tweets
from modelworks.data.sources.image_folder import Folder
from modelworks.data.sources.table import Table

__all__ = ["PINNED", "Digits", "Examples", "Fashion", "Folder", "Mnist5k", "Source", "SourceConfig", "Table", "Tweets"]

SourceConfig = Annotated[Digits | Mnist5k | Fashion | Tweets | Folder | Table, Field(discriminator="kind")]

PINNED: tuple[Source, ...] = (Digits(kind="digits"), Mnist5k(kind="mnist5k"), Tweets(kind="tweets"))
"""The sources of the committed data.dvc: they are part of Python packages, so they are always available."""
