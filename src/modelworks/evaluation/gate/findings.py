"""A finding of the gate: a check and the decision that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.records import Check, Decision

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finding", "overall"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One requirement, the observed value, and the decision that follows from it."""

    name: str
    observed: str
    required: str
    decision: Decision
    hint: str = ""

    @property
    def check(self) -> Check:
        return Check(
            name=self.name,
            passed=self.decision == "promote",
            observed=self.observed,
            required=self.required,
            hint=self.hint,
        )


def overall(findings: Iterable[Finding]) -> Decision:
    """Combine decisions: reject takes precedence over inconclusive, inconclusive over promote."""
    decisions = {finding.decision for finding in findings}
    if "reject" in decisions:
        return "reject"
    return "inconclusive" if "inconclusive" in decisions else "promote"
