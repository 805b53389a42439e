"""RESULTS.md has one section per processor, with one subsection per part."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import heading, insert

EPYC = {"processor": "AMD EPYC, 2 cores", "version": "cpu family 25 model 1", "flags": "avx avx2 fma"}
XEON = {"processor": "Xeon, 2 cores", "version": "cpu family 6 model 143", "flags": "amx_bf16 avx2 avx512_bf16"}
ORDER = ["help", "gate"]


def test_section_is_named_after_the_processor_and_its_bf16_instructions() -> None:
    assert heading(EPYC) == "AMD EPYC, 2 cores, cpu family 25 model 1, no bf16 instructions"
    assert heading(XEON) == "Xeon, 2 cores, cpu family 6 model 143, amx_bf16, avx512_bf16"


def test_run_replaces_only_the_section_of_its_processor(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    insert(path, heading(EPYC), "gate", "first", ORDER)
    insert(path, heading(XEON), "gate", "second", ORDER)
    both = path.read_text()
    insert(path, heading(EPYC), "gate", "third", ORDER)
    again = path.read_text()
    assert again == both.replace("first", "third")
    assert again.count("\n## ") == 2
    assert "## Xeon, 2 cores, cpu family 6 model 143, amx_bf16, avx512_bf16\n\n### gate\n\nsecond\n" in again
    insert(path, heading(XEON), "gate", "second", ORDER)
    assert path.read_text() == again
