"""Test rows in reports: a preview of the content, the truth and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelworks.evaluation.reports.plot_style import RIGHT, WRONG, cut, drawing, title
from modelworks.modalities.base import preview_module

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Row", "grid", "with_previews"]

COLUMNS = 6
"""Pictures per row of the grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A test row to show."""

    id: str
    preview: np.ndarray[Any, Any] | str
    """Pixels, uint8 (height, width, 3), or a text."""
    truth: str
    answer: str
    remark: str
    """E.g. the probability of the answer."""

    @property
    def is_picture(self) -> bool:
        return not isinstance(self.preview, str)


def with_previews(
    modality: str, contents: Sequence[Any], ids: Sequence[str], words: Sequence[tuple[str, str, str]]
) -> list[Row]:
    """Return rows with previews.

    Args:
        modality: of the contents.
        contents: of the rows.
        ids: of the rows.
        words: truth, answer and remark of each row.
    """
    preview = preview_module(modality).preview
    return [
        Row(id=identity, preview=preview(content), truth=truth, answer=answer, remark=remark)
        for content, identity, (truth, answer, remark) in zip(contents, ids, words, strict=True)
    ]


def grid(rows: Sequence[Row], path: Path, *, name: str, among: int) -> None:
    """Draw a grid of pictures with truth, answer and remark.

    Args:
        rows: with pictures as previews.
        path: of the PNG file.
        name: the title.
        among: total number of such rows.
    """
    columns = min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    width, height = max(0.4 + 1.5 * columns, 4.6), 0.9 + 1.85 * lines
    with drawing(width, height, path) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        for place, row in enumerate(rows):
            assert isinstance(row.preview, np.ndarray)
            left, top = 0.3 + 1.5 * (place % columns), 0.85 + 1.85 * (place // columns)
            high, wide = (1.3 * side / max(row.preview.shape[:2]) for side in row.preview.shape[:2])
            edge, ceiling = left + (1.3 - wide) / 2, top + (1.3 - high) / 2
            axes.imshow(
                row.preview, extent=(edge, edge + wide, ceiling + high, ceiling), aspect="auto", interpolation="none"
            )
            caption = f"{cut(row.answer, 12)} ({row.remark})" if row.remark else cut(row.answer, 19)
            axes.text(left, top + 1.43, cut(row.truth, 19), fontsize=8, color=RIGHT, parse_math=False)
            axes.text(left, top + 1.58, caption, fontsize=8, color=WRONG, weight="bold", parse_math=False)
        axes.set(xlim=(0, width), ylim=(height, 0))  # imshow changes them
        title(figure, name, f"the worst {len(rows)} of {among:,}; blue: truth, orange: answer")
