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


def findings(slices: Sequence[Slice], config: SliceConfig, measure: str, opponent: int) -> Iterator[Finding]:
    """What the limits on slices say, two findings a column at most.

    A minimum or maximum is compared with the figure itself. Of a regression beyond the limit it matters whether it is
    shown: the whole interval beyond it rejects the candidate, the figure alone is inconclusive.

    Args:
        slices: of `measured`.
        config: the limits.
        measure: what the figure of a slice is, in words.
        opponent: the version compared with; 0 for none.
    """
    for by, column in _columns(slices):
        judged = [each for each in column if each.rows >= config.min_rows]
        name = f"the {measure} within each {by}"
        if not judged:
            yield Finding(
                name=name,
                observed="not known",
                required=f"some {by} of {config.min_rows} test rows",
                decision="inconclusive",
            )
            continue
        if config.minimum is not None:
            yield _limit(name, judged, config.minimum, 1)
        if config.maximum is not None:
            yield _limit(name, judged, config.maximum, -1)
        if config.max_regression is not None and opponent:
            yield _regression(f"the gain in {name} over version {opponent}", judged, config.max_regression)


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


def _limit(name: str, judged: Sequence[Slice], limit: float, sign: int) -> Finding:
    """Compare each slice with a minimum (sign 1) or a maximum (sign -1)."""
    ordered = sorted(judged, key=lambda each: sign * each.score)
    beyond = [each for each in ordered if sign * each.score < sign * limit]
    end, bound = ("lowest", "at least") if sign > 0 else ("highest", "at most")
    return Finding(
        name=name,
        observed=_listed([str(each) for each in beyond]) if beyond else f"{ordered[0]} at its {end}",
        required=f"{bound} {limit:g}",
        decision="reject" if beyond else "promote",
    )


def _regression(name: str, judged: Sequence[Slice], most: float) -> Finding:
    told = [(each, each.difference) for each in judged if each.difference is not None]
    told.sort(key=lambda pair: pair[1].value)
    worse = [pair for pair in told if pair[1].value < -most]
    shown = [pair for pair in worse if pair[1].high < -most]
    named = [f"{each.value} {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for each, gap in worse or told[:1]]
    return Finding(
        name=name,
        observed=("" if worse else "at its lowest ") + _listed(named),
        required=f"none below {-most:+g}" if most else "none below 0",
        decision="reject" if shown else "inconclusive" if worse else "promote",
    )


def _listed(names: Sequence[str]) -> str:
    rest = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
