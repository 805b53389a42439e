"""A registry with two versions, for tests of `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelworks.registry.production.audit_log import Move


NAME = "small"


Promote = Callable[[int], "Move | None"]
