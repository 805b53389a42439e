"""Check limits on slices of the test rows.

Slices can only prevent a promotion, so many slices do not let a bad model pass. Two rules reduce false alarms: the
confidence of a regression is corrected for the number of judged slices (Bonferroni), and a slice of fewer rows than
`min_rows` is listed but not judged.
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
"""Maximum number of slices listed in one line."""


def findings(slices: Sequence[Slice], config: SliceConfig, measure: str, baseline: int) -> Iterator[Finding]:
    """Yield the findings for the limits on slices, at most two per column.

    A minimum or maximum is compared with the point estimate. A regression with its interval beyond the limit rejects;
    one with only its point estimate beyond the limit is inconclusive.

    Args:
        slices: from `measured`.
        config: the limits.
        measure: name of the slices' score.
        baseline: the version compared with; 0 for none.
    """
    for by, column in _columns(slices):
        judged = [each for each in column if each.rows >= config.min_rows]
        name = f"the {measure} within each {by}"
        if not judged:
            yield Finding(
                name=name,
                observed="no slice is large enough",
                required=f"some {by} of {config.min_rows} test rows",
                decision="inconclusive",
            )
            continue
        if config.minimum is not None:
            yield _limit(name, judged, config.minimum, 1)
        if config.maximum is not None:
            yield _limit(name, judged, config.maximum, -1)
        if config.max_regression is not None and baseline:
            yield _regression(f"the gain in {name} over version {baseline}", judged, config.max_regression)


def too_small(slices: Sequence[Slice], config: SliceConfig) -> Iterator[str]:
    """Yield a remark for each column with slices that are too small to judge."""
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
    compared = [(each, each.difference) for each in judged if each.difference is not None]
    compared.sort(key=lambda pair: pair[1].value)
    worse = [pair for pair in compared if pair[1].value < -most]
    significant = [pair for pair in worse if pair[1].high < -most]
    named = [f"{each.value} {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for each, gap in worse or compared[:1]]
    return Finding(
        name=name,
        observed=("" if worse else "at its lowest ") + _listed(named),
        required=f"none below {-most:+g}" if most else "none below 0",
        decision="reject" if significant else "inconclusive" if worse else "promote",
    )


def _listed(names: Sequence[str]) -> str:
    rest = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
