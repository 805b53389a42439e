"""Regression with Gaussian or Huber loss; MAE, RMSE and R2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import Objective
from .figures import Bars, Scatter
from .row_statistics import Columns, Metric, RowStatistics

if TYPE_CHECKING:
    import torch

    from .figures import Figure, Table

__all__ = ["Regression"]

BINS = 30
"""Bins of the histogram of residuals."""


class Regression(Objective):
    """Rows have one number. `spec`: mean and std of the training rows, loss, delta.

    The network is trained on standardised numbers. Encoded targets: `number` float64 (rows,), in the units of the data.
    Predicted columns: `predicted` float64 (rows,), likewise.
    """

    kind = "regression"
    targets: ClassVar[Mapping[str, str]] = {"number": "number"}
    answer_columns: ClassVar[Mapping[str, str]] = {"value": "double"}
    row_metric = "mean absolute error"
    row_better = "min"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "mae": Metric(better="min", group="absolute", form="mean", highest=None),
        "rmse": Metric(better="min", group="squares", highest=None),
        "r2": Metric(better="max", group="squares", lowest=None),
    }

    @classmethod
    def fit(
        cls, section: Mapping[str, Any], features: Mapping[str, Any], targets: Iterable[Mapping[str, Sequence[Any]]]
    ) -> Regression:
        """Compute mean and standard deviation of the training rows.

        Raises:
            ValueError: all training rows have the same number.
        """
        count, total, squares = 0, 0.0, 0.0
        for rows in targets:
            numbers = np.asarray(rows["number"], dtype=np.float64)
            # Chan, Golub and LeVeque 1983 (doi:10.1080/00031305.1983.10483115): combine chunks without cancellation.
            mean, size = numbers.mean(), len(numbers)
            shift = mean - (total / count if count else mean)
            squares += ((numbers - mean) ** 2).sum() + shift**2 * count * size / (count + size)
            count, total = count + size, total + numbers.sum()
        std = float(np.sqrt(squares / count))
        if not std > 0:
            raise ValueError(f"all {count} training rows have the number {total / count:g}: there is nothing to learn")
        return cls({"mean": total / count, "std": std, "loss": section["loss"], "delta": section["delta"]})

    @property
    def num_outputs(self) -> int:
        return 1

    # Training

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
        return {"number": np.asarray(columns["number"], dtype=np.float64)}

    def loss(self, outputs: torch.Tensor, targets: Mapping[str, torch.Tensor], *, training: bool) -> torch.Tensor:
        from torch.nn import functional

        wanted = ((targets["number"] - self.spec["mean"]) / self.spec["std"]).to(outputs.dtype)
        found = outputs.squeeze(-1)
        if self.spec["loss"] == "huber":
            return functional.huber_loss(found, wanted, reduction="sum", delta=self.spec["delta"])
        return functional.mse_loss(found, wanted, reduction="sum") / 2

    def predict(self, outputs: torch.Tensor) -> dict[str, np.ndarray[Any, Any]]:
        standardised = outputs.squeeze(-1).double().cpu().numpy()
        return {"predicted": standardised * self.spec["std"] + self.spec["mean"]}

    # Evaluation

    def statistics(self, group: str, predicted: Columns, truth: Columns) -> RowStatistics:
        errors = predicted["predicted"] - truth["number"]
        rows = np.arange(len(errors))
        if group == "absolute":
            return RowStatistics(values=np.abs(errors)[:, None], of_row=rows)
        centred = truth["number"] - self.spec["mean"]  # near zero, to avoid cancellation in the sum of squares
        values = np.stack([np.ones(len(errors)), errors**2, centred, centred**2], axis=1)
        return RowStatistics(values=values, of_row=rows)

    def evaluate(self, group: str, sums: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        rows, squared_errors, centred, squares = np.moveaxis(sums, -1, 0)
        around_mean = squares - centred**2 / rows
        # R2 is 0 if all rows have the same number.
        r2 = np.where(around_mean > 0, 1 - squared_errors / np.where(around_mean > 0, around_mean, 1), 0.0)
        return {"rmse": np.sqrt(squared_errors / rows), "r2": r2}

    def row_scores(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        return np.asarray(np.abs(predicted["predicted"] - truth["number"]))

    def wrongness(self, predicted: Columns, truth: Columns) -> np.ndarray[Any, Any]:
        """Return the absolute errors in standard deviations of the training rows."""
        return self.row_scores(predicted, truth) / float(self.spec["std"])

    def same_answers(self, one: Columns, other: Columns) -> np.ndarray[Any, Any]:
        return np.asarray(one["predicted"] == other["predicted"])

    def describe(self, predicted: Columns, truth: Columns, rows: Sequence[int]) -> list[tuple[str, str, str]]:
        return [
            (
                f"{truth['number'][row]:.6g}",
                f"{predicted['predicted'][row]:.6g}",
                f"{predicted['predicted'][row] - truth['number'][row]:+.3g}",
            )
            for row in rows
        ]

    def baseline(self, training: Columns, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """Predict the mean of the training rows."""
        return {"predicted": np.full(rows, training["number"].mean())}

    def report(self, predicted: Columns, truth: Columns, confidence: float) -> Sequence[Figure | Table]:
        """Plot residuals against predictions, and their histogram."""
        residuals = truth["number"] - predicted["predicted"]
        counts, edges = np.histogram(residuals, BINS)
        return (
            Scatter(
                title="Residuals",
                file="residuals",
                x=predicted["predicted"],
                y=residuals,
                x_label="predicted",
                y_label="true minus predicted",
                line="zero",
            ),
            Bars(
                title="Distribution of residuals",
                file="residual_histogram",
                counts=counts,
                edges=edges,
                x_label="true minus predicted",
            ),
        )

    # Serving

    def answers(self, predicted: Columns, top_k: int = 1) -> list[dict[str, Any]]:
        """Return `value` of each row; `top_k` is ignored."""
        return [{"value": float(value)} for value in predicted["predicted"]]

    def disagreement(self, predicted: Columns, expected: Columns) -> float:
        """Return the largest difference in standard deviations of the training rows."""
        return float(np.abs(predicted["predicted"] - expected["predicted"]).max()) / float(self.spec["std"])
