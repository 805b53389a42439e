"""The benchmarks name missing requirements, keep their results, and report failures by their exit code."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from pipelines.commands import REPOSITORY

from benchmarks import gate, needs
from benchmarks.__main__ import main, measure_all
from benchmarks.parts import PARTS, Part, chosen
from benchmarks.recovery import compare
from benchmarks.recovery.cases import Cases
from benchmarks.recovery.compare import cells
from benchmarks.recovery.ours import edit_loss
from benchmarks.recovery.tool import Observed, Tool
from benchmarks.report import HEADINGS, Table, insert
from modelworks.data.sources import Fashion
from modelworks.errors import BadInput

BROKEN = Part(name="broken", title="a part whose function does not exist", function="gate:absent")


def named(name: str) -> Part:
    (part,) = (part for part in PARTS if part.name == name)
    return part


@pytest.mark.slow
def test_failed_part_keeps_the_results_of_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.md"
    assert measure_all([BROKEN, named("help")], 1, output) == 1
    text = output.read_text()
    assert "### help" in text
    assert "| modelworks --help | " in text
    assert "\n- flags: " in text
    assert "\n- GFLOP/s: fp32 and bf16 with " in text
    assert "broken" not in text
    printed = capsys.readouterr()
    assert "has no attribute 'absent'" in printed.err
    assert "broken               FAILED" in printed.out
    assert "help                 measured in" in printed.out


def test_missing_data_and_packages_are_named_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fashion() -> None:
        Fashion(kind="fashion", path=str(tmp_path / "absent")).fingerprint(tmp_path)

    part = Part(name="cnn", title="an image model", function="x:y", needs=(needs.package("no_such_peer"), fashion))
    assert measure_all([part], 1, tmp_path / "results.md") == 4
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert "GFLOP/s" not in output
    assert lines[0].startswith("missing: the package no_such_peer is not installed: run `make bench`")
    assert "apt-get install dataset-fashion-mnist" in lines[2]
    assert not (tmp_path / "results.md").exists()


def test_both_bootstraps_of_the_gate_have_the_same_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "CASES", ((3, 0.8),))
    monkeypatch.setattr(gate, "ROWS", 1000)
    monkeypatch.setattr(gate, "RESAMPLES", 1000)
    (found,) = gate.measure(1, tmp_path)
    assert found.ours_metric == pytest.approx(found.peer_metric, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first-run", "second-run", "second-run-large", "throughput"])
def test_comparison_of_whole_runs_has_figures_of_both_sides(name: str, tmp_path: Path) -> None:
    (row,) = named(name).measure(1, tmp_path / name, small=False).rows
    assert float(row[HEADINGS.index("ratio")]) > 0


def test_every_part_declares_its_requirements() -> None:
    assert {part.name for part in PARTS if needs.fashion in part.needs} == {"training-cnn", "training-start"}
    assert all(part.on_gpu == (needs.gpu in part.needs) for part in PARTS)


def test_parts_are_chosen_by_name_or_prefix() -> None:
    assert [part.name for part in chosen(["throughput", "help"])] == ["help", "throughput"]
    assert [part.name for part in chosen(["first-run"])] == ["first-run"]
    assert {part.name for part in chosen(["cuda"])} == {"cuda-cnn", "cuda-bert"}
    assert not any(part.on_gpu for part in chosen([]))
    with pytest.raises(BadInput, match="unknown benchmark: nothing"):
        chosen(["nothing"])


def test_list_shows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [part.name for part in PARTS]


def test_new_result_replaces_only_its_own_section(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    shutil.copy(REPOSITORY / "benchmarks" / "RESULTS.md", path)
    before = path.read_text()
    order = [part.name for part in PARTS]
    insert(path, "Another processor", "gate", Table(notes=["a note"]).markdown(), order)
    insert(path, "Another processor", "help", "first", order)
    insert(path, "Another processor", "help", "second", order)
    section = "\n## Another processor\n\n### help\n\nsecond\n\n### gate\n\n```\na note\n```\n"
    assert path.read_text() == before + section


def test_edit_of_our_loss_applies_to_the_current_code(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src" / "modelworks", tmp_path / "modelworks")
    for path in edit_loss(tmp_path / "modelworks"):
        compile(path.read_text(), str(path), "exec")
        assert "label_smoothing=0.05 + 0.5 * (" in path.read_text()


@pytest.mark.slow
def test_failing_tool_is_a_row_of_the_table_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Tool(name="broken", files={}, command=(sys.executable, "-c", "raise SystemExit(3)"))
    monkeypatch.setattr(compare, "TOOLS", (broken,))
    assert measure_all([named("recovery")], 1, tmp_path / "results.md", small=True) == 1
    text = (tmp_path / "results.md").read_text()
    assert "| broken (failed) |" in text
    assert "broken: broken ended with 3 before its kill" in text
    assert "; FAILED: broken" in capsys.readouterr().out


def observed(steps: str = "", *, epochs: int = 0, versions: int = 1, open_runs: int = 0, code: int = 0) -> Observed:
    return Observed(
        code=code, steps=tuple(steps.split()), epochs=epochs, versions=versions, open_runs=open_runs, seconds=1.0
    )


ALL = "load check train score register"


def test_description_of_a_script_that_repeats_everything() -> None:
    found = Cases(
        killed=observed("load check", epochs=5, versions=0, open_runs=1, code=-9),
        resumed=observed(ALL, epochs=10, open_runs=1),
        second=observed(ALL, epochs=10, versions=2),
        edited=observed(ALL, epochs=10, versions=3),
    )
    assert cells(found, 10) == (
        "load, check again; 5 of 5 epochs lost; the killed MLflow run stays RUNNING",
        "load, check, train, score, register again; registers the same model as version 2",
        "load, check, train, score, register again; registers the new model as version 3",
    )


def test_description_of_a_cache_that_misses_the_helper() -> None:
    found = Cases(
        killed=observed("load check", epochs=5, versions=0, code=-9),
        resumed=observed("train score register", epochs=6),
        second=observed(),
        edited=observed(),
    )
    assert cells(found, 10) == (
        "finished steps are kept; 1 of 5 epochs lost",
        "nothing is done",
        "not noticed: production stays the model of the old code (nothing is done)",
    )


def test_description_of_a_failing_command() -> None:
    failed = observed(code=255)
    found = Cases(killed=observed(epochs=5, code=-9), resumed=failed, second=failed, edited=failed)
    assert cells(found, 10) == ("fails with exit code 255",) * 3
