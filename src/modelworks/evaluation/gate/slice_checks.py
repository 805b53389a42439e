"""What must hold within slices of the test rows.

Slices can only stop a promotion, so however many there are, they make no bad model pass. That they should not stop a
good one by chance alone takes two rules: the confidence with which a slice is shown to be worse is raised for the
number of all that are judged (Bonferroni), and a slice of fewer rows than `min_rows` is named, not judged.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from modelworks.evaluation.config import SliceConfig
    from modelworks.evaluation.gate.slices import Slice

__all__ = ["findings", "too_small"]

SHOWN = 4
"""Slices that are named in one line."""


def findings(slices: Sequence[Slice], config: SliceConfig, opponent: int) -> Iterator[Finding]:
    """What the limits on slices say, two findings a column at most.

    A minimum is compared with the figure itself. Of a regression beyond the limit it matters whether it is shown: the
    whole interval beyond it keeps production, the figure alone is not enough evidence.

    Args:
        slices: of `measured`.
        config: the limits.
        opponent: the version compared with; 0 for none.
    """
    for by, column in _columns(slices):
        judged = [each for each in column if each.rows >= config.min_rows]
        name = f"the share of right answers within each {by}"
        if not judged:
            yield Finding(
                name=name,
                found="not known",
                demanded=f"some {by} of {config.min_rows} test rows",
                decision="inconclusive",
            )
            continue
        if config.minimum is not None:
            yield _minimum(name, judged, config.minimum)
        if config.max_regression is not None and opponent:
            yield _regression(f"{name} minus version {opponent}'s", judged, config.max_regression)


def too_small(slices: Sequence[Slice], config: SliceConfig) -> Iterator[str]:
    """A remark for each column that has slices nobody judged."""
    for by, column in _columns(slices):
        small = [each for each in column if each.rows < config.min_rows]
        if small:
            named = _listed([f"{each.value} ({each.rows:,})" for each in small])
            yield (
                f"{len(small):,} of {len(column):,} slices by {by} have fewer than {config.min_rows} test rows "
                f"and were not judged: {named}"
            )


def _columns(slices: Iterable[Slice]) -> Iterable[tuple[str, list[Slice]]]:
    columns: dict[str, list[Slice]] = defaultdict(list)
    for each in slices:
        columns[each.by].append(each)
    return columns.items()


def _minimum(name: str, judged: Sequence[Slice], minimum: float) -> Finding:
    below = sorted((each for each in judged if each.accuracy < minimum), key=lambda each: each.accuracy)
    lowest = min(judged, key=lambda each: each.accuracy)
    return Finding(
        name=name,
        found=_listed([str(each) for each in below]) if below else f"{lowest} at its lowest",
        demanded=f"at least {minimum:g}",
        decision="reject" if below else "promote",
    )


def _regression(name: str, judged: Sequence[Slice], most: float) -> Finding:
    told = [(each, each.difference) for each in judged if each.difference is not None]
    told.sort(key=lambda pair: pair[1].value)
    worse = [pair for pair in told if pair[1].value < -most]
    shown = [pair for pair in worse if pair[1].high < -most]
    named = [f"{each.value} {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for each, gap in worse or told[:1]]
    return Finding(
        name=name,
        found=("" if worse else "at its lowest ") + _listed(named),
        demanded=f"none below {-most:+g}" if most else "none below 0",
        decision="reject" if shown else "inconclusive" if worse else "promote",
    )


def _listed(names: Sequence[str]) -> str:
    rest = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
