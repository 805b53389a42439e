"""Facts of a text for validation: length, blankness and signs of a wrong encoding."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pyarrow as pa

__all__ = ["MEASURES", "SIZE", "WORDS", "facts", "remarks"]

SIZE = "characters"
MEASURES = ("characters", "tokens")
WORDS = True

_VISIBLE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
"""Any character except white space, control characters and zero-width characters."""


class _Text(NamedTuple):
    characters: int | None
    tokens: int | None
    replacement_share: float | None
    mojibake: bool
    blank: bool
    fault: str | None


def facts(texts: pa.ChunkedArray) -> pa.Table:
    """Return decodes, characters, tokens, replacement_share, mojibake, blank, fault of each text.

    `tokens` is the number of words separated by white space. `replacement_share` is the share of U+FFFD, which replaces
    undecodable bytes. `mojibake` is ftfy's result that the text was decoded with the wrong encoding. `fault` is the
    reason why a text cannot be used. `decodes` is always true: undecodable texts are refused when the source is read.
    """
    import pyarrow as pa
    from ftfy.badness import is_bad

    rows = [
        {"decodes": True, **_inspect(text, is_bad)._asdict()} for chunk in texts.chunks for text in chunk.to_pylist()
    ]
    schema = {
        "decodes": pa.bool_(),
        "characters": pa.int64(),
        "tokens": pa.int64(),
        "replacement_share": pa.float64(),
        "mojibake": pa.bool_(),
        "blank": pa.bool_(),
        "fault": pa.string(),
    }
    return pa.Table.from_pylist(rows, pa.schema(schema.items()))


def remarks(usable: pd.DataFrame) -> Iterator[str]:
    """Report texts that may have been decoded wrongly."""
    garbled = usable[usable["mojibake"]]
    if len(garbled):
        example = garbled["row"].iloc[0]
        yield f"texts decoded with the wrong encoding (mojibake): {len(garbled)}, e.g. row {example}; used unchanged"
    replaced = usable[usable["replacement_share"] > 0]
    if len(replaced):
        yield f"texts with replacement characters (U+FFFD): {len(replaced)}, e.g. row {replaced['row'].iloc[0]}"


def _inspect(text: str | None, is_bad: Callable[[str], bool]) -> _Text:
    if text is None:
        return _Text(None, None, None, False, True, "blank")
    blank = _VISIBLE.search(text) is None
    replaced = text.count("\ufffd") / len(text) if text else 0.0
    return _Text(len(text), len(text.split()), replaced, is_bad(text), blank, "blank" if blank else None)
