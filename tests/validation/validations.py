"""Validations for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelworks.records import ValidationReport

Validate = Callable[..., ValidationReport]
Texts = Callable[..., dict[str, list[Any]]]
