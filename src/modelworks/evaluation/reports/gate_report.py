"""What a person looks at after a verdict.

    verdict.html      everything below on one page
    verdict.json      the same for programs, with every slice and the reliability of both models
    differences.png   where the candidate is better and where it is worse
    calibration.png   how far the probabilities of both can be believed
    newly_wrong.png   of images, those that only production answers right

The pictures are there only with an opponent that answers the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks.evaluation import inference
from modelworks.evaluation.gate.prediction_churn import Broken, broken
from modelworks.evaluation.gate.slices import LABEL
from modelworks.evaluation.metrics.calibration import Reliability, reliability
from modelworks.evaluation.reports import gate_page, plots
from modelworks.evaluation.reports.plot_style import cut
from modelworks.evaluation.reports.slice_plot import differences
from modelworks.files.atomic_files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelworks.evaluation.gate.decision import GateResult
    from modelworks.evaluation.gate.production_baseline import Baseline

__all__ = ["JSON", "render", "write_details"]

JSON = "verdict.json"
MOST = 24
"""Newly wrong rows that are shown."""
LONGEST = 280
"""Characters of a text that are shown."""


def write_details(folder: Path, judgement: GateResult) -> None:
    """Write verdict.json, which is part of the verdict itself."""
    details = judgement.details()
    if judgement.opponent is not None:
        models = _reliabilities(judgement, judgement.opponent)
        details["reliability"] = {name: _json(found) for name, found in models.items()}
        lost = _lost(judgement, judgement.opponent)
        details["newly_wrong"] = [{"id": each.id, "label": each.label, "predicted": each.candidate} for each in lost]
    write_json(folder / JSON, details)


def render(folder: Path, judgement: GateResult, confidence: float) -> None:
    """Write the page and its pictures; `confidence` is that of the intervals in them.

    Raises:
        Corrupt: the data are damaged.
    """
    drawn: dict[str, Path] = {}
    lost: list[Broken] = []
    texts: list[str] = []
    images: Path | None = None
    if judgement.opponent is not None:
        models = _reliabilities(judgement, judgement.opponent)
        drawn = {"Differences": folder / "differences.png", "Calibration": folder / "calibration.png"}
        differences(judgement.slices, drawn["Differences"])
        errors = " and ".join(f"{found.error:.3f}" for found in models.values())
        plots.reliability_diagram(models, confidence, f"expected calibration error {errors}", drawn["Calibration"])

        report = judgement.verdict.version.evaluation.trained.report
        lost = _lost(judgement, judgement.opponent)
        if lost and report.dataset.modality == "image":
            images = folder / "newly_wrong.png"
            _draw(judgement, lost, images)
        elif lost:
            contents = inference.held_out(report).contents
            texts = [cut(str(contents[each.place]), LONGEST) for each in lost]
    page = gate_page.render(judgement.verdict, judgement.slices, lost if texts else [], texts, images, drawn)
    (folder / "verdict.html").write_text(page, encoding="utf-8")


def _lost(judgement: GateResult, opponent: Baseline) -> list[Broken]:
    """The newly wrong rows that are listed."""
    classes = judgement.verdict.version.evaluation.trained.report.dataset.classes
    return broken(judgement.predictions, opponent, classes, MOST)


def _draw(judgement: GateResult, lost: Sequence[Broken], path: Path) -> None:
    report = judgement.verdict.version.evaluation.trained.report
    contents: Sequence[bytes] = inference.held_out(report).contents  # type: ignore[assignment]  # the modality is image
    rows = [each.place for each in lost]
    plots.mistakes(
        judgement.predictions,
        rows,
        [contents[row] for row in rows],
        report.dataset.classes,
        path,
        name="Newly wrong",
        among=sum(each.broken for each in judgement.slices if each.by == LABEL),
    )


def _reliabilities(judgement: GateResult, opponent: Baseline) -> dict[str, Reliability]:
    labels = judgement.predictions.labels
    return {
        f"version {judgement.verdict.version.version}": reliability(judgement.predictions.probabilities, labels),
        f"version {opponent.version}": reliability(opponent.probabilities, labels),
    }


def _json(found: Reliability) -> dict[str, Any]:
    shares = found.hits / found.rows
    return {
        "error": found.error,
        "bins": [
            {"rows": int(rows), "said": round(float(said), 6), "right": round(float(share), 6)}
            for rows, said, share in zip(found.rows, found.said, shares, strict=True)
        ],
    }
