"""Verdicts of the gate, for tests."""

from __future__ import annotations

from modelworks.records import (
    Check,
    ModelVersion,
    Verdict,
)


def verdict_of(version: ModelVersion, decision: str = "promote") -> Verdict:
    """Return a verdict with one check."""
    check = Check(
        name="accuracy", passed=decision == "promote", observed="0.9100 [0.8500, 0.9500]", required="at least 0.9"
    )
    return Verdict(version=version, key="gate-key", decision=decision, checks=(check,), baseline=0)  # type: ignore[arg-type]
