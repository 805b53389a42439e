"""Draw an objective's figures, one function per type."""

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
from modelworks.evaluation.statistics.bootstrap import wilson
from modelworks.objectives.figures import Bars, Matrix, Reliability, Scatter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from modelworks.objectives.figures import Figure

__all__ = ["draw", "matrix", "reliability_diagram"]

SHARES = 20
"""Number of bars of the histogram of probabilities."""
PAIRS = ((RIGHT, RIGHT_SHADES[2]), (WRONG, WRONG_SHADES[2]))
"""Dark and light colours of the first and the second model."""


def draw(figure: Figure, confidence: float, path: Path) -> None:
    """Draw a figure as PNG, with intervals of a confidence level."""
    match figure:
        case Matrix():
            matrix(figure, path)
        case Reliability():
            below = (
                f"expected calibration error {figure.error:.3f}; bars: {100 * confidence:g}% intervals, dashed: perfect"
            )
            reliability_diagram({"": figure}, confidence, below, path)
        case Scatter():
            _scatter(figure, path)
        case Bars():
            _bars(figure, path)


def matrix(found: Matrix, path: Path) -> None:
    """Draw counts with a row per true class and a column per predicted class.

    The colour is the square root of the share of the row, so that rare errors are visible.
    """
    from matplotlib.colors import LinearSegmentedColormap

    counts, size = found.counts, len(found.names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right, wrong = (LinearSegmentedColormap.from_list("", shades) for shades in (RIGHT_SHADES, WRONG_SHADES))
    strength = np.where(counts > 0, 0.15 + 0.85 * np.sqrt(share), 0)
    colours = np.where(np.eye(size, dtype=bool)[..., None], right(share), wrong(strength))

    side = float(np.clip(0.52 * size, 2.6, 13))
    font = float(np.clip(30 * side / size, 5, 11))
    names = [cut(name, 18) for name in found.names]
    longest = 0.0088 * max(font * 0.95, 6) * max(map(len, names))  # inches
    upright = longest > 0.95 * side / size
    left, foot = max(0.75, 0.5 + longest), 0.45 + (longest if upright else 0.15)
    width, height = max(left + side + 0.25, 3.9), 0.8 + side + foot
    with drawing(width, height, path) as figure:
        axes = figure.add_axes((left / width, foot / height, side / width, side / height))
        axes.imshow(colours, aspect="equal")
        digits = font * min(1.0, 3.6 / len(str(counts.max())))
        for row, column in zip(*np.nonzero(counts), strict=True):
            strong = share[row, column] > 0.45 if row == column else strength[row, column] > 0.6
            colour = "white" if strong else INK
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=digits, color=colour)
        axes.set_xticks(range(size), names, rotation=90 if upright else 0, parse_math=False)
        axes.set_yticks(range(size), names, parse_math=False)
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.6)
        quiet(axes, font=max(font * 0.95, 6))
        axes.set_xlabel("predicted", color=FAINT)
        axes.set_ylabel("true", color=FAINT)
        below = f"{counts.trace():,} of {counts.sum():,} right; coloured by the share of the row"
        title(figure, found.title, below)


def reliability_diagram(models: Mapping[str, Reliability], confidence: float, below: str, path: Path) -> None:
    """Draw accuracy by probability and a histogram of probabilities.

    Method: Guo et al. 2017, arXiv:1706.04599.

    Args:
        models: one or two, by name; the name of a single one is not shown.
        confidence: level of the error bars.
        below: the line under the title.
        path: of the PNG file.
    """
    with drawing(5.2, 5.4, path) as figure:
        curve, share = figure.subplots(
            2, 1, sharex=True, height_ratios=(4, 1),
            gridspec_kw={"left": 0.14, "right": 0.96, "top": 0.86, "bottom": 0.1, "hspace": 0.1},
        )  # fmt: skip
        curve.plot((0, 1), (0, 1), color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        edges = np.linspace(0, 1, SHARES + 1)
        for (name, model), (dark, light) in zip(models.items(), PAIRS, strict=False):
            true = [wilson(int(hit), int(row), confidence) for hit, row in zip(model.hits, model.rows, strict=True)]
            curve.vlines(
                model.predicted, [each.low for each in true], [each.high for each in true], color=light, linewidth=1.4
            )
            values = [each.value for each in true]
            curve.plot(model.predicted, values, color=dark, marker="o", markersize=4, linewidth=1.4, label=name)
            often = np.histogram(model.sure.clip(0, 1), edges)[0] / len(model.sure)
            share.stairs(often, edges, color=light, fill=len(models) == 1, linewidth=1.6)
        curve.set(xlim=(0, 1.02), ylim=(0, 1.04))
        curve.set_ylabel("share of right answers", color=FAINT)
        share.set_ylabel("rows", color=FAINT)
        share.set_xlabel("probability of the answer", color=FAINT)
        share.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for axes in (curve, share):
            quiet(axes, font=9)
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
        if len(models) > 1:
            curve.legend(loc="upper left", frameon=False, fontsize=9)
        figure.align_ylabels()
        title(figure, next(iter(models.values())).title, below)


def _scatter(found: Scatter, path: Path) -> None:
    with drawing(5.2, 5.4, path) as figure:
        axes = figure.add_axes((0.15, 0.11, 0.81, 0.74))
        axes.plot(found.x, found.y, linestyle="", marker="o", markersize=3, markeredgewidth=0, alpha=0.4, color=RIGHT)
        if found.line == "diagonal":
            ends = [min(found.x.min(), found.y.min()), max(found.x.max(), found.y.max())]
            axes.plot(ends, ends, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        else:
            axes.axhline(0, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        _framed(axes, found.x_label, found.y_label)
        title(figure, found.title, f"{len(found.x):,} test rows")


def _bars(found: Bars, path: Path) -> None:
    with drawing(5.2, 3.6, path) as figure:
        axes = figure.add_axes((0.15, 0.17, 0.81, 0.6))
        axes.stairs(found.counts, found.edges, color=RIGHT_SHADES[2], fill=True)
        _framed(axes, found.x_label, "rows")
        title(figure, found.title, f"{int(found.counts.sum()):,} test rows")


def _framed(axes: Axes, x_label: str, y_label: str) -> None:
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    quiet(axes, font=9)
    axes.set_xlabel(x_label, color=FAINT, parse_math=False)
    axes.set_ylabel(y_label, color=FAINT, parse_math=False)
