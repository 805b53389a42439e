"""Types of the fixtures that change production."""

from __future__ import annotations

from collections.abc import Callable

from modelworks.records import ModelVersion
from modelworks.registry.production import audit_log

Register = Callable[..., ModelVersion]
Promote = Callable[..., "audit_log.Move | None"]
