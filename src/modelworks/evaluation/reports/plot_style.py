"""Shared style of the plots: size, title, axes and colours.

Figures are drawn without pyplot, which has global state, and without parsing text as mathematics.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "GRID", "INK", "RIGHT", "RIGHT_SHADES", "WRONG", "WRONG_SHADES", "cut", "drawing", "quiet", "title"]

INK, FAINT, GRID, RIGHT, WRONG = "#1f2933", "#9aa5b1", "#e4e7eb", "#1d4e89", "#b8400e"
RIGHT_SHADES, WRONG_SHADES = ("#ffffff", "#c7d9ec", "#5b8fc4", RIGHT), ("#ffffff", "#fbd9c0", "#ee8a4f", WRONG)


@contextmanager
def drawing(width: float, height: float, path: Path) -> Iterator[Figure]:
    """Yield a figure of a size in inches, and save it as PNG when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    yield figure
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; the tables on the page show them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, metadata={"Software": None})


def title(figure: Figure, text: str, below: str) -> None:
    """Write a heading and a line below it into the upper left corner, 0.7 inches high."""
    height = figure.get_figheight()
    figure.text(0.2 / figure.get_figwidth(), 1 - 0.3 / height, text, fontsize=13, weight="bold", color=INK)
    figure.text(0.2 / figure.get_figwidth(), 1 - 0.54 / height, below, fontsize=8.5, color="#616e7c")


def quiet(axes: Axes, *, font: float) -> None:
    """Remove frame and ticks of axes, and set the font size of the labels in points."""
    axes.tick_params(which="both", length=0, pad=5, labelsize=font, labelcolor=INK)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def cut(text: str, most: int) -> str:
    """Truncate a text to at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
