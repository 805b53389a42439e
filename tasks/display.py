"""Show the progress of a pipeline on a terminal, as plain lines, and in Prefect's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

__all__ = ["Display", "LoggedDisplay", "PlainDisplay", "TerminalDisplay", "make_display"]

PLAIN_SECONDS = 5.0
"""Minimum time between two lines of training progress."""

NOTICES = {
    "damaged": "the checkpoint of step {step} is damaged: resuming from an older one",
    "memory": "out of memory: batches are split into {parts} parts of {examples} examples",
    "early_stop": "early stopping at step {step}: the best epoch ended at step {best_step}",
}
"""Messages of trainer events, by type."""

SHOWN_METRICS = 3
"""Number of metrics shown per epoch besides the loss; MLflow has all."""

STARTED = time.monotonic()
"""Start of the process, approximately; printed times are relative to it."""


class Display(Protocol):
    """Shows the progress of a run."""

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        """Show that a stage finished."""

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Show that a stage is running."""

    def training(self, event: Mapping[str, Any]) -> None:
        """Show an event of the trainer (see modelworks.training.monitoring.events)."""

    def print(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """Restore the terminal."""


def make_display() -> Display:
    """Return a terminal display if stderr is a terminal, otherwise a plain one."""
    return TerminalDisplay() if sys.stderr.isatty() else PlainDisplay()


def _print_line(line: str) -> None:
    print(f"{time.monotonic() - STARTED:7.1f}  {line}", file=sys.stderr, flush=True)


class PlainDisplay:
    """Plain lines, one per event."""

    def __init__(self, write: Callable[[str], object] = _print_line) -> None:
        """`write` outputs a line; the default prints it to stderr after the seconds since the start."""
        self._write = write
        self._epochs = self._steps = 0
        self._next_line = 0.0

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        self.print(f"{name:<9} {outcome:<9} {seconds:6.1f} s  {detail}".rstrip())

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        self.print(f"{name:<9} ...")
        yield

    def training(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "start":
            self._epochs, self._steps = event["epochs"], event["steps"]
            self.print(_start_line(event))
        elif event["type"] == "step" and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self.print(
                f"  step {event['step']}/{self._steps}  epoch {event['epoch']}/{self._epochs}  loss {event['loss']:.4f}  "
                f"{event['examples_per_second']:,.0f} examples/s  {event['seconds_left']:.0f} s left"
            )
        elif event["type"] == "epoch" and "validation_loss" in event:
            self.print(_epoch_line(event, self._epochs))
        elif event["type"] in NOTICES:
            self.print(_notice(event))

    def print(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        pass


class TerminalDisplay:
    """A spinner for the running stage, a progress bar for training, a tick for finished stages."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(stderr=True, highlight=False)
        self._spinner = Progress(
            SpinnerColumn(), TextColumn("[bold]{task.description}"), console=self._console, transient=True
        )
        self._bar = Progress(
            TextColumn("  "),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
        )
        self._task: Any = None
        self._epochs = 0

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        colour = "green" if outcome in ("ran", "resumed") else "cyan"
        self._console.print(
            f"[{colour}]✔[/] [bold]{name:<9}[/] [{colour}]{outcome:<9}[/] [dim]{seconds:6.1f} s[/]  {_escaped(detail)}"
        )

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        task = self._spinner.add_task(name)
        self._spinner.start()
        try:
            yield
        finally:
            self._stop_bar()
            self._spinner.stop()
            self._spinner.remove_task(task)

    def training(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "start":
            self._epochs = event["epochs"]
            if event["resumed_from"]:
                self.print(_start_line(event))
            self._spinner.stop()
            self._bar.start()
            self._task = self._bar.add_task("starting", total=event["steps"], completed=event["resumed_from"])
        elif event["type"] == "step" and self._task is not None:
            self._bar.update(
                self._task,
                completed=event["step"],
                description=(
                    f"epoch {event['epoch']}/{self._epochs}  loss [bold]{event['loss']:.4f}[/]  "
                    f"{event['examples_per_second']:,.0f} examples/s  {event['seconds_left']:.0f} s left"
                ),
            )
        elif event["type"] == "epoch" and "validation_loss" in event:
            self._bar.console.print(f"[dim]{_epoch_line(event, self._epochs)}[/]")
        elif event["type"] in NOTICES:
            self.print(_notice(event))

    def print(self, text: str) -> None:
        self._console.print(_escaped(text))

    def close(self) -> None:
        self._stop_bar()
        self._spinner.stop()

    def _stop_bar(self) -> None:
        if self._task is not None:
            self._bar.stop()
            self._bar.remove_task(self._task)
            self._task = None


class LoggedDisplay:
    """A display whose lines also go to a log."""

    def __init__(self, display: Display, log: Callable[[str], object]) -> None:
        """`log` outputs a line."""
        self._displays: tuple[Display, ...] = (display, PlainDisplay(log))

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        for each in self._displays:
            each.stage(name, outcome, seconds, detail)

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        with ExitStack() as stack:
            for each in self._displays:
                stack.enter_context(each.working(name))
            yield

    def training(self, event: Mapping[str, Any]) -> None:
        for each in self._displays:
            each.training(event)

    def print(self, text: str) -> None:
        for each in self._displays:
            each.print(text)

    def close(self) -> None:
        for each in self._displays:
            each.close()


def _start_line(event: Mapping[str, Any]) -> str:
    resumed = f", resuming from step {event['resumed_from']:,}" if event["resumed_from"] else ""
    precision = f" in {event['precision']}" if "precision" in event else ""  # missing in events of earlier releases
    return f"  {event['parameters']:,} parameters, {event['steps']:,} steps in {event['epochs']} epochs{precision}{resumed}"


def _epoch_line(event: Mapping[str, Any], epochs: int) -> str:
    metrics = {name: value for name, value in event.items() if name.startswith("validation_")}
    loss = metrics.pop("validation_loss")
    shown = list(metrics.items())[:SHOWN_METRICS]
    figures = [f"{name.removeprefix('validation_')} {value:.4f}" for name, value in shown]
    return "  ".join([f"  epoch {event['epoch']}/{epochs}", f"validation loss {loss:.4f}", *figures])


def _notice(event: Mapping[str, Any]) -> str:
    return "  " + NOTICES[event["type"]].format_map(event)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
