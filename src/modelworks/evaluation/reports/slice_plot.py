"""A plot of the gain over production by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modelworks.evaluation.reports.plot_style import (
    FAINT,
    GRID,
    INK,
    RIGHT,
    RIGHT_SHADES,
    WRONG,
    WRONG_SHADES,
    cut,
    drawing,
    quiet,
    title,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelworks.evaluation.gate.slices import Slice

__all__ = ["differences"]

MOST = 24
"""Maximum number of slices drawn, those that differ most."""


def differences(slices: Sequence[Slice], measure: str, path: Path) -> None:
    """Draw the gain of each slice with its interval, if it has one.

    Args:
        slices: of all columns.
        measure: name of the slices' score.
        path: of the PNG file.
    """
    compared = [(each, each.gain) for each in slices if each.gain is not None]
    chosen = sorted(compared, key=lambda pair: -abs(pair[1]))[:MOST]
    chosen.sort(key=lambda pair: pair[1])
    several = len({each.by for each, _ in chosen}) > 1
    names = [cut(f"{each.by}: {each.value}" if several else each.value, 26) for each, _ in chosen]
    left = max(0.9, 0.45 + 0.075 * max(map(len, names)))
    height = 1.35 + 0.27 * len(chosen)
    with drawing(5.2, max(height, 2.4), path) as figure:
        height = figure.get_figheight()
        axes = figure.add_axes((left / 5.2, 0.55 / height, (5.0 - left) / 5.2, (height - 1.3) / height))
        axes.axvline(0, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        for place, (each, value) in enumerate(chosen):
            dark, light = (RIGHT, RIGHT_SHADES[2]) if value >= 0 else (WRONG, WRONG_SHADES[2])
            if each.difference is not None:
                axes.hlines(place, each.difference.low, each.difference.high, color=light, linewidth=1.8)
            filled = dark if each.difference is not None else "white"
            axes.plot(value, place, marker="o", markersize=5.5, color=dark, markerfacecolor=filled)
        reach = max([0.01, *np.abs(axes.get_xlim())])
        axes.set(xlim=(-reach, reach), ylim=(-0.7, len(chosen) - 0.3))
        axes.set_yticks(range(len(chosen)), names, parse_math=False, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        quiet(axes, font=8.5)
        axes.set_xlabel(f"gain in {measure} over production", color=FAINT)
        sort = "the most different, " if len(compared) > MOST else ""
        title(figure, "Differences", f"right is better; {sort}hollow: too few rows for an interval")
