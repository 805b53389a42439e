"""RESULTS.md keeps one section for each processor."""

from __future__ import annotations

from benchmarks.results import merged, title

EPYC = {"processor": "AMD EPYC, 2 cores", "version": "cpu family 25 model 1", "flags": "avx avx2 fma"}
XEON = {"processor": "Xeon, 2 cores", "version": "cpu family 6 model 143", "flags": "amx_bf16 avx2 avx512_bf16"}


def test_a_section_is_named_after_what_decides_its_figures() -> None:
    assert title(EPYC) == "AMD EPYC, 2 cores, cpu family 25 model 1, no bf16 instructions"
    assert title(XEON) == "Xeon, 2 cores, cpu family 6 model 143, amx_bf16, avx512_bf16"


def test_a_run_replaces_the_section_of_its_processor_alone() -> None:
    once = merged("", title(EPYC), ["- date: first", "", "| a |"])
    both = merged(once, title(XEON), ["- date: second"])
    again = merged(both, title(EPYC), ["- date: third"])
    assert again.count("\n## ") == both.count("\n## ") == 2
    assert "first" in both
    assert "first" not in again
    assert "## Xeon, 2 cores, cpu family 6 model 143, amx_bf16, avx512_bf16\n\n- date: second\n" in again
    assert again.index("third") < again.index("second")
    assert merged(again, title(XEON), ["- date: second"]) == again
