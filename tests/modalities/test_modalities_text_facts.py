from __future__ import annotations

import pyarrow as pa
import pytest

from modelworks.modalities.text_facts import facts


def facts_of(*texts: str | None) -> list[dict[str, object]]:
    return facts(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist()


def test_lengths_count_characters_and_words() -> None:
    (fact,) = facts_of("  zwei  Wörter\n")
    assert (fact["characters"], fact["tokens"], fact["blank"], fact["mojibake"]) == (15, 2, False, False)


@pytest.mark.parametrize("text", [None, "", "  \t\n", "\x00\x01", "\u200b\ufeff", "\u00a0\u3000"])
def test_text_without_visible_characters_is_blank(text: str | None) -> None:
    (fact,) = facts_of(text)
    assert (fact["blank"], fact["fault"]) == (True, "blank")


@pytest.mark.parametrize("text", [".", "0", "日", "🙂", "\u202eא"])
def test_text_with_visible_characters_is_not_blank(text: str) -> None:
    assert facts_of(text)[0]["blank"] is False


def test_text_decoded_with_the_wrong_encoding_is_mojibake() -> None:
    good = "Größe: “naïve” déjà vu"
    found = facts_of(good, good.encode().decode("latin-1"))
    assert [fact["mojibake"] for fact in found] == [False, True]


def test_share_of_replacement_characters_is_computed() -> None:
    assert [fact["replacement_share"] for fact in facts_of("ab\ufffd\ufffd", "abcd")] == [0.5, 0.0]
