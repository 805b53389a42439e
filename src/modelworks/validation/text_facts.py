"""What validation knows of a text: how long it is, whether anything stands in it, and whether it was misread."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["text_facts"]

_VISIBLE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
"""Anything but white space, control characters and characters of no width."""


class _Text(NamedTuple):
    characters: int | None
    tokens: int | None
    replacement_share: float | None
    mojibake: bool
    blank: bool
    fault: str | None


def text_facts(texts: pa.ChunkedArray) -> pd.DataFrame:
    """One row per text: `decodes`, `characters`, `tokens`, `replacement_share`, `mojibake`, `blank`, `fault`.

    `tokens` are words between white space. `replacement_share` is of U+FFFD, which stands where bytes could not be
    decoded. `mojibake` is ftfy's judgement that the text was decoded with the wrong encoding. `fault` says why a
    text cannot be used. All texts decode: one that does not is refused when the source is read.
    """
    import pandas as pd
    from ftfy.badness import is_bad

    rows = [_look(text, is_bad) for chunk in texts.chunks for text in chunk.to_pylist()]
    facts = pd.DataFrame.from_records(rows, columns=_Text._fields)
    facts.insert(0, "decodes", True)
    return facts.astype(
        {
            "characters": "Int64",
            "tokens": "Int64",
            "replacement_share": "float64",
            "mojibake": "bool",
            "blank": "bool",
            "fault": "str",
        }
    )


def _look(text: str | None, is_bad: Callable[[str], bool]) -> _Text:
    if text is None:
        return _Text(None, None, None, False, True, "blank")
    blank = _VISIBLE.search(text) is None
    replaced = text.count("\ufffd") / len(text) if text else 0.0
    return _Text(len(text), len(text.split()), replaced, is_bad(text), blank, "blank" if blank else None)
