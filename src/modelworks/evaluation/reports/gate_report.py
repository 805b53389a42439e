"""What a person looks at after a verdict.

    verdict.html      everything below on one page
    verdict.json      the same for programs, with every slice and the reliability of both models
    differences.png   where the candidate is better and where it is worse
    calibration.png   how far the probabilities of both can be believed
    newly_wrong.png   of images, those that the candidate answers worse than production

The pictures are there only with an opponent that answers the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks.evaluation import inference
from modelworks.evaluation.gate.prediction_churn import reliability, worsened
from modelworks.evaluation.reports import gate_page, plots, previews
from modelworks.evaluation.reports.slice_plot import differences
from modelworks.files.atomic_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.evaluation.gate.decision import GateResult
    from modelworks.evaluation.gate.production_baseline import Baseline
    from modelworks.evaluation.reports.previews import Row
    from modelworks.objectives.figures import Reliability

__all__ = ["JSON", "render", "write_details"]

JSON = "verdict.json"
MOST = 24
"""Rows answered worse that are shown."""


def write_details(folder: Path, judgement: GateResult) -> None:
    """Write verdict.json, which is part of the verdict itself."""
    details = judgement.details()
    if judgement.opponent is not None:
        if models := _reliabilities(judgement, judgement.opponent):
            details["reliability"] = {name: _json(found) for name, found in models.items()}
        lost = worsened(judgement.predictions, judgement.opponent, MOST)
        details["newly_wrong"] = [{"id": each.id, "label": each.truth, "predicted": each.answer} for each in lost]
    write_json(folder / JSON, details)


def render(folder: Path, judgement: GateResult, confidence: float) -> None:
    """Write the page and its pictures; `confidence` is that of the intervals in them.

    Raises:
        Corrupt: the data are damaged.
    """
    drawn: dict[str, Path] = {}
    texts: list[Row] = []
    images: Path | None = None
    measure = judgement.predictions.objective.row_metric
    if judgement.opponent is not None:
        if judgement.slices:
            drawn["Differences"] = folder / "differences.png"
            differences(judgement.slices, measure, drawn["Differences"])
        if models := _reliabilities(judgement, judgement.opponent):
            errors = " and ".join(f"{found.error:.3f}" for found in models.values())
            drawn["Calibration"] = folder / "calibration.png"
            plots.reliability_diagram(models, confidence, f"expected calibration error {errors}", drawn["Calibration"])

        shown = _worsened(judgement, judgement.opponent)
        if shown and shown[0].is_picture:
            images = folder / "newly_wrong.png"
            assert judgement.verdict.changes is not None
            previews.grid(shown, images, name="Worsened rows", among=judgement.verdict.changes.broken)
        else:
            texts = shown
    page = gate_page.render(judgement.verdict, judgement.slices, measure, texts, images, drawn)
    (folder / "verdict.html").write_text(page, encoding="utf-8")


def _worsened(judgement: GateResult, opponent: Baseline) -> list[Row]:
    """The rows that are answered worse, as they are shown."""
    report = judgement.verdict.version.evaluation.trained.report
    lost = worsened(judgement.predictions, opponent, MOST)
    if not lost:
        return []
    contents = inference.held_out(report).contents
    return previews.with_previews(
        report.dataset.modality,
        [contents[each.place] for each in lost],
        [each.id for each in lost],
        [(each.truth, each.answer, each.remark) for each in lost],
    )


def _reliabilities(judgement: GateResult, opponent: Baseline) -> dict[str, Reliability]:
    """Of both models by name; empty where answers have no probabilities."""
    found = {
        f"version {judgement.verdict.version.version}": reliability(
            judgement.predictions, judgement.predictions.predicted
        ),
        f"version {opponent.version}": reliability(judgement.predictions, opponent.predicted),
    }
    return {name: each for name, each in found.items() if each is not None}


def _json(found: Reliability) -> dict[str, Any]:
    shares = found.hits / found.rows
    return {
        "error": found.error,
        "bins": [
            {"rows": int(rows), "said": round(float(said), 6), "right": round(float(share), 6)}
            for rows, said, share in zip(found.rows, found.predicted, shares, strict=True)
        ],
    }
