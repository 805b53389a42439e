"""The files of the gate page.

    verdict.html      everything below on one page
    verdict.json      the same as JSON, with all slices and the calibration of both models
    differences.png   slices in which the candidate is better or worse
    calibration.png   the calibration of both models
    newly_wrong.png   images with a lower score than in production

The pictures exist only if production can be compared.
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
"""Maximum number of worsened rows shown."""


def write_details(folder: Path, judgement: GateResult) -> None:
    """Write verdict.json, which is stored with the verdict."""
    details = judgement.details()
    if judgement.baseline is not None:
        if models := _reliabilities(judgement, judgement.baseline):
            details["reliability"] = {name: _json(found) for name, found in models.items()}
        lost = worsened(judgement.predictions, judgement.baseline, MOST)
        details["newly_wrong"] = [{"id": each.id, "label": each.truth, "predicted": each.answer} for each in lost]
    write_json(folder / JSON, details)


def render(folder: Path, judgement: GateResult, confidence: float) -> None:
    """Write the page and its pictures with intervals of a confidence level.

    Raises:
        Corrupt: the data are damaged.
    """
    drawn: dict[str, Path] = {}
    texts: list[Row] = []
    images: Path | None = None
    measure = judgement.predictions.objective.row_metric
    if judgement.baseline is not None:
        if judgement.slices:
            drawn["Differences"] = folder / "differences.png"
            differences(judgement.slices, measure, drawn["Differences"])
        if models := _reliabilities(judgement, judgement.baseline):
            errors = " and ".join(f"{found.error:.3f}" for found in models.values())
            drawn["Calibration"] = folder / "calibration.png"
            plots.reliability_diagram(models, confidence, f"expected calibration error {errors}", drawn["Calibration"])

        shown = _worsened(judgement, judgement.baseline)
        if shown and shown[0].is_picture:
            images = folder / "newly_wrong.png"
            assert judgement.verdict.changes is not None
            previews.grid(shown, images, name="Worsened rows", among=judgement.verdict.changes.broken)
        else:
            texts = shown
    page = gate_page.render(judgement.verdict, judgement.slices, measure, texts, images, drawn)
    (folder / "verdict.html").write_text(page, encoding="utf-8")


def _worsened(judgement: GateResult, baseline: Baseline) -> list[Row]:
    """Return the worsened rows with previews."""
    report = judgement.verdict.version.evaluation.trained.report
    lost = worsened(judgement.predictions, baseline, MOST)
    if not lost:
        return []
    contents = inference.held_out(report).contents
    return previews.with_previews(
        report.dataset.modality,
        [contents[each.place] for each in lost],
        [each.id for each in lost],
        [(each.truth, each.answer, each.remark) for each in lost],
    )


def _reliabilities(judgement: GateResult, baseline: Baseline) -> dict[str, Reliability]:
    """Return the calibration of both models by name; empty without probabilities."""
    found = {
        f"version {judgement.verdict.version.version}": reliability(
            judgement.predictions, judgement.predictions.predicted
        ),
        f"version {baseline.version}": reliability(judgement.predictions, baseline.predicted),
    }
    return {name: each for name, each in found.items() if each is not None}


def _json(found: Reliability) -> dict[str, Any]:
    shares = found.hits / found.rows
    return {
        "error": found.error,
        "bins": [
            {"rows": int(rows), "predicted": round(float(probability), 6), "observed": round(float(share), 6)}
            for rows, probability, share in zip(found.rows, found.predicted, shares, strict=True)
        ],
    }
