"""The progress of a pipeline on a terminal and in a log."""

from __future__ import annotations

import pytest

from tasks.display import Display, LoggedDisplay, PlainDisplay, TerminalDisplay, make_display

START = {"type": "start", "epochs": 2, "steps": 20, "parameters": 1234, "resumed_from": 5}
STEP = {"type": "step", "step": 6, "epoch": 1, "loss": 0.5, "examples_per_second": 1500.0, "seconds_left": 3.0}
EPOCH = {"type": "epoch", "step": 10, "epoch": 1, "validation_loss": 0.25, "validation_accuracy": 0.75}
WITHOUT_VALIDATION = {"type": "epoch", "step": 20, "epoch": 2}


@pytest.mark.parametrize("kind", [PlainDisplay, TerminalDisplay])
def test_training_is_shown_from_start_to_end(kind: type[Display], capsys: pytest.CaptureFixture[str]) -> None:
    display = kind()
    with display.working("train"):
        for event in (START, STEP, EPOCH, WITHOUT_VALIDATION, {"type": "done"}):
            display.training(event)
    display.stage("train", "resumed", 12.3, "1,234 parameters [on cpu]")
    display.print("a note in [brackets]")
    display.close()

    out, err = capsys.readouterr()
    assert out == ""
    for text in (
        "resuming from step 5",
        "epoch 1/2  validation loss 0.2500  accuracy 0.7500",
        "resumed",
        "12.3 s",
        "1,234 parameters [on cpu]",
        "a note in [brackets]",
    ):
        assert text in err


@pytest.mark.parametrize("kind", [PlainDisplay, TerminalDisplay])
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "damaged", "step": 7}, "the checkpoint of step 7 is damaged"),
        ({"type": "memory", "parts": 2, "examples": 32}, "into 2 parts of 32 examples"),
        ({"type": "early_stop", "step": 30, "epoch": 3, "best_step": 10}, "the best epoch ended at step 10"),
    ],
)
def test_trainer_events_are_shown(
    kind: type[Display], event: dict[str, object], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    display = kind()
    display.training(event)
    display.close()
    assert expected in " ".join(capsys.readouterr().err.split())


def test_plain_display_limits_the_rate_of_step_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display = PlainDisplay()
    display.training(START)
    for number in range(6, 20):
        display.training({**STEP, "step": number})
    err = capsys.readouterr().err
    assert "step 6/20  epoch 1/2  loss 0.5000  1,500 examples/s  3 s left" in err
    assert err.count("step ") == 2  # the first step, and the step that the training resumes from
    assert "\x1b" not in err


def test_failing_stage_stops_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    display = TerminalDisplay()

    def stage(name: str) -> None:
        with display.working(name):
            display.training(START)
            raise ZeroDivisionError

    for name in ("first", "second"):  # rich cannot start a second bar while one is running
        with pytest.raises(ZeroDivisionError):
            stage(name)


def test_epoch_line_shows_the_first_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"validation_{name}": 0.5 for name in ("mae", "rmse", "r2", "fourth")}
    PlainDisplay().training({"type": "epoch", "step": 10, "epoch": 1, "validation_loss": 0.25, **metrics})
    assert "validation loss 0.2500  mae 0.5000  rmse 0.5000  r2 0.5000\n" in capsys.readouterr().err


def test_logged_display_also_writes_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    display = LoggedDisplay(TerminalDisplay(), lines.append)
    with display.working("train"):
        display.training(START)
    display.stage("train", "ran", 12.3, "1,234 parameters")
    display.print("a warning")
    display.close()
    assert lines == [
        "train     ...",
        "  1,234 parameters, 20 steps in 2 epochs, resuming from step 5",
        "train     ran         12.3 s  1,234 parameters",
        "a warning",
    ]
    assert "a warning" in capsys.readouterr().err


def test_display_is_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(make_display(), PlainDisplay)
