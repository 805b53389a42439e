"""Pictures of an evaluation: confusion matrix, calibration, worst mistakes.

Figures are drawn without pyplot, whose state is global, and text is never taken for mathematics.
"""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from modelworks.evaluation.bootstrap import wilson
from modelworks.evaluation.metrics import confusion_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from modelworks.evaluation.predict import Predictions

__all__ = ["calibration", "confusion", "mistakes"]

INK, FAINT, RIGHT, WRONG = "#1f2933", "#9aa5b1", "#1d4e89", "#b8400e"
RIGHT_SHADES, WRONG_SHADES = ("#ffffff", "#c7d9ec", "#5b8fc4", RIGHT), ("#ffffff", "#fbd9c0", "#ee8a4f", WRONG)
BINS = 10
"""Of the calibration curve."""
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
    names = [_cut(name, 18) for name in classes]
    longest = 0.0088 * max(font * 0.95, 6) * max(map(len, names))  # inches
    upright = longest > 0.95 * side / size
    left, foot = max(0.75, 0.5 + longest), 0.45 + (longest if upright else 0.15)
    width, height = max(left + side + 0.25, 3.9), 0.8 + side + foot
    with _drawing(width, height, path) as figure:
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
        axes.grid(which="minor", color="#e4e7eb", linewidth=0.6)
        _quiet(axes, font=max(font * 0.95, 6))
        axes.set_xlabel("predicted", color=FAINT)
        axes.set_ylabel("true", color=FAINT)
        below = f"{counts.trace():,} of {counts.sum():,} right; coloured by the share of the row"
        _title(figure, "Confusion matrix", below)


def calibration(predictions: Predictions, confidence: float, path: Path) -> None:
    """How often the model is right when it says how sure it is (Guo et al. 2017, arXiv:1706.04599)."""
    sure = predictions.probabilities.max(axis=1).astype(np.float64)
    right = predictions.labels == predictions.predicted
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(rows)
    said = np.bincount(bins, weights=sure, minlength=BINS)[filled] / rows[filled]
    hits = np.bincount(bins, weights=right, minlength=BINS)[filled]
    true = [wilson(int(hit), int(row), confidence) for hit, row in zip(hits, rows[filled], strict=True)]
    gaps = np.abs(np.array([each.value for each in true]) - said)
    error = np.average(gaps, weights=rows[filled])

    with _drawing(5.2, 5.4, path) as figure:
        curve, share = figure.subplots(
            2, 1, sharex=True, height_ratios=(4, 1),
            gridspec_kw={"left": 0.14, "right": 0.96, "top": 0.86, "bottom": 0.1, "hspace": 0.1},
        )  # fmt: skip
        curve.plot((0, 1), (0, 1), color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        low, high = [each.low for each in true], [each.high for each in true]
        curve.vlines(said, low, high, color=RIGHT_SHADES[2], linewidth=1.4)
        curve.plot(said, [each.value for each in true], color=RIGHT, marker="o", markersize=5, linewidth=1.6)
        curve.set(xlim=(0, 1.02), ylim=(0, 1.04))
        curve.set_ylabel("share that is right", color=FAINT)
        share.bar((np.arange(BINS) + 0.5) / BINS, rows / rows.sum(), width=0.92 / BINS, color=RIGHT_SHADES[1])
        share.set_ylabel("rows", color=FAINT)
        share.set_xlabel("how sure the model is", color=FAINT)
        share.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for axes in (curve, share):
            _quiet(axes, font=9)
            axes.grid(axis="y", color="#e4e7eb", linewidth=0.6)
            axes.set_axisbelow(True)
        figure.align_ylabels()
        below = f"expected calibration error {error:.3f}; bars: {100 * confidence:g}% intervals, dashed: perfect"
        _title(figure, "Calibration", below)


def mistakes(
    predictions: Predictions, chosen: Sequence[int], contents: Sequence[bytes], classes: Sequence[str], path: Path
) -> None:
    """A grid of the chosen rows: picture, what it is, what it was taken for and how surely.

    `contents` holds the encoded images of the chosen rows alone.
    """
    columns = min(COLUMNS, len(chosen))
    lines = -(-len(chosen) // columns)
    width, height = max(0.4 + 1.5 * columns, 4.6), 0.9 + 1.85 * lines
    with _drawing(width, height, path) as figure:
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
            caption = f"{_cut(classes[taken], 12)} ({predictions.probabilities[row, taken]:.0%})"
            true = _cut(classes[predictions.labels[row]], 19)
            axes.text(left, top + 1.43, true, fontsize=8, color=RIGHT, parse_math=False)
            axes.text(left, top + 1.58, caption, fontsize=8, color=WRONG, weight="bold", parse_math=False)
        axes.set(xlim=(0, width), ylim=(height, 0))  # imshow moves them
        wrong = int((predictions.labels != predictions.predicted).sum())
        below = f"the surest {len(chosen)} of {wrong:,}; blue: what it is, orange: what it was taken for"
        _title(figure, "Worst mistakes", below)


def _pixels(content: bytes) -> npt.NDArray[np.uint8]:
    """RGB of an encoded image, its longer side `PIXELS` pixels; small ones keep sharp pixels."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    small = max(upright.size) <= PIXELS // 2
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return np.asarray(ImageOps.contain(upright, (PIXELS, PIXELS), how))


@contextmanager
def _drawing(width: float, height: float, path: Path) -> Iterator[Figure]:
    """A figure of some inches, saved as PNG when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    yield figure
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes here; the tables beside have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, metadata={"Software": None})


def _title(figure: Figure, title: str, below: str) -> None:
    height = figure.get_figheight()
    figure.text(0.2 / figure.get_figwidth(), 1 - 0.3 / height, title, fontsize=13, weight="bold", color=INK)
    figure.text(0.2 / figure.get_figwidth(), 1 - 0.54 / height, below, fontsize=8.5, color="#616e7c")


def _quiet(axes: Axes, *, font: float) -> None:
    axes.tick_params(which="both", length=0, pad=5, labelsize=font, labelcolor=INK)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
