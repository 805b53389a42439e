"""Pictures of an evaluation: confusion matrix, calibration, worst mistakes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.metrics.calibration import Reliability, reliability
from modelworks.evaluation.metrics.classification import confusion_matrix
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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelworks.evaluation.inference import Predictions

__all__ = ["calibration", "confusion", "mistakes", "reliability_diagram"]

SHARES = 20
"""Bars of how often a model is how sure."""
PAIRS = ((RIGHT, RIGHT_SHADES[2]), (WRONG, WRONG_SHADES[2]))
"""Dark and light, of the first model and of the second."""
COLUMNS, PIXELS = 6, 192
"""Of the grid of mistakes: pictures in a row, and pixels of a picture's longer side."""


def confusion(predictions: Predictions, classes: Sequence[str], path: Path) -> None:
    """A row per true class, a column per predicted one: counts, coloured by their share of the row.

    Mistakes are few, so the square root of their share is what colours them: one in a hundred can be seen.
    """
    from matplotlib.colors import LinearSegmentedColormap

    counts = confusion_matrix(predictions.labels, predictions.predicted, len(classes))
    size = len(classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right, wrong = (LinearSegmentedColormap.from_list("", shades) for shades in (RIGHT_SHADES, WRONG_SHADES))
    strength = np.where(counts > 0, 0.15 + 0.85 * np.sqrt(share), 0)
    colours = np.where(np.eye(size, dtype=bool)[..., None], right(share), wrong(strength))

    side = float(np.clip(0.52 * size, 2.6, 13))
    font = float(np.clip(30 * side / size, 5, 11))
    names = [cut(name, 18) for name in classes]
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
        title(figure, "Confusion matrix", below)


def calibration(predictions: Predictions, confidence: float, path: Path) -> None:
    """How often the model is right when it says how sure it is (Guo et al. 2017, arXiv:1706.04599)."""
    found = reliability(predictions.probabilities, predictions.labels)
    below = f"expected calibration error {found.error:.3f}; bars: {100 * confidence:g}% intervals, dashed: perfect"
    reliability_diagram({"": found}, confidence, below, path)


def reliability_diagram(models: Mapping[str, Reliability], confidence: float, below: str, path: Path) -> None:
    """What each model's probabilities say and what is true, and below it how often it is how sure.

    Args:
        models: one or two, by name; an only one needs none.
        confidence: of the bars.
        below: the line under the title.
        path: of the picture.
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
                model.said, [each.low for each in true], [each.high for each in true], color=light, linewidth=1.4
            )
            values = [each.value for each in true]
            curve.plot(model.said, values, color=dark, marker="o", markersize=4, linewidth=1.4, label=name)
            often = np.histogram(model.sure.clip(0, 1), edges)[0] / len(model.sure)
            share.stairs(often, edges, color=light, fill=len(models) == 1, linewidth=1.6)
        curve.set(xlim=(0, 1.02), ylim=(0, 1.04))
        curve.set_ylabel("share that is right", color=FAINT)
        share.set_ylabel("rows", color=FAINT)
        share.set_xlabel("how sure the model is", color=FAINT)
        share.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for axes in (curve, share):
            quiet(axes, font=9)
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
        if len(models) > 1:
            curve.legend(loc="upper left", frameon=False, fontsize=9)
        figure.align_ylabels()
        title(figure, "Calibration", below)


def mistakes(
    predictions: Predictions,
    chosen: Sequence[int],
    contents: Sequence[bytes],
    classes: Sequence[str],
    path: Path,
    *,
    name: str,
    among: int,
) -> None:
    """A grid of mistakes: picture, what it is, what it was taken for and how surely.

    Args:
        predictions: of all test rows.
        chosen: places of those to show.
        contents: the encoded images of these alone.
        classes: names.
        path: of the picture.
        name: its title.
        among: how many such mistakes there are.
    """
    columns = min(COLUMNS, len(chosen))
    lines = -(-len(chosen) // columns)
    width, height = max(0.4 + 1.5 * columns, 4.6), 0.9 + 1.85 * lines
    with drawing(width, height, path) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        for place, row in enumerate(chosen):
            left, top = 0.3 + 1.5 * (place % columns), 0.85 + 1.85 * (place // columns)
            pixels = _pixels(contents[place])
            high, wide = (1.3 * side / max(pixels.shape[:2]) for side in pixels.shape[:2])
            edge, ceiling = left + (1.3 - wide) / 2, top + (1.3 - high) / 2
            axes.imshow(
                pixels, extent=(edge, edge + wide, ceiling + high, ceiling), aspect="auto", interpolation="none"
            )
            taken = int(predictions.predicted[row])
            caption = f"{cut(classes[taken], 12)} ({predictions.probabilities[row, taken]:.0%})"
            true = cut(classes[predictions.labels[row]], 19)
            axes.text(left, top + 1.43, true, fontsize=8, color=RIGHT, parse_math=False)
            axes.text(left, top + 1.58, caption, fontsize=8, color=WRONG, weight="bold", parse_math=False)
        axes.set(xlim=(0, width), ylim=(height, 0))  # imshow moves them
        below = f"the surest {len(chosen)} of {among:,}; blue: what it is, orange: what it was taken for"
        title(figure, name, below)


def _pixels(content: bytes) -> npt.NDArray[np.uint8]:
    """RGB of an encoded image, its longer side `PIXELS` pixels; small ones keep sharp pixels."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    small = max(upright.size) <= PIXELS // 2
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return np.asarray(ImageOps.contain(upright, (PIXELS, PIXELS), how))
