"""What a person sees while a pipeline runs: drawn on a terminal, plain lines in a log, and in Prefect's log of the run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

__all__ = ["Display", "LoggedDisplay", "PlainDisplay", "TerminalDisplay", "make_display"]

PLAIN_SECONDS = 5.0
"""Time between two lines about a training in a log."""

NOTICES = {
    "damaged": "the checkpoint of step {step} is damaged: going on from an older one",
    "memory": "memory does not suffice: batches are computed in {parts} parts of {examples} examples",
    "early_stop": "no better epoch for a while: stopped at step {step}, the best one ended at step {best_step}",
}
"""Events that a person should hear of, by type."""

SHOWN_METRICS = 3
"""Of each epoch, besides the loss; MLflow has all."""

STARTED = time.monotonic()
"""What a log's times count from: the start of the process, nearly."""


class Display(Protocol):
    """Told what happens, by whoever makes it happen."""

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        """A stage is over."""

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """A stage is at work."""

    def training(self, event: Mapping[str, Any]) -> None:
        """An event of the trainer (see modelworks.training.monitoring.events)."""

    def say(self, text: str) -> None:
        """Anything else worth a line."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def make_display() -> Display:
    """The display that fits where stderr goes."""
    return TerminalDisplay() if sys.stderr.isatty() else PlainDisplay()


def _print(line: str) -> None:
    print(f"{time.monotonic() - STARTED:7.1f}  {line}", file=sys.stderr, flush=True)


class PlainDisplay:
    """One line per thing that happened."""

    def __init__(self, write: Callable[[str], object] = _print) -> None:
        """`write` takes a line; by default it goes to stderr, behind the seconds since the start."""
        self._write = write
        self._epochs = self._steps = 0
        self._next_line = 0.0

    def stage(self, name: str, outcome: str, seconds: float, detail: str) -> None:
        self.say(f"{name:<9} {outcome:<9} {seconds:6.1f} s  {detail}".rstrip())

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        self.say(f"{name:<9} ...")
        yield

    def training(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "start":
            self._epochs, self._steps = event["epochs"], event["steps"]
            self.say(_start_line(event))
        elif event["type"] == "step" and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self.say(
                f"  step {event['step']}/{self._steps}  epoch {event['epoch']}/{self._epochs}  loss {event['loss']:.4f}  "
                f"{event['examples_per_second']:,.0f} examples/s  {event['seconds_left']:.0f} s left"
            )
        elif event["type"] == "epoch" and "validation_loss" in event:
            self.say(_epoch_line(event, self._epochs))
        elif event["type"] in NOTICES:
            self.say(_notice(event))

    def say(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        pass


class TerminalDisplay:
    """A spinner for the stage at work, a bar for a training, a tick for what is done."""

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
                self.say(_start_line(event))
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
            self.say(_notice(event))

    def say(self, text: str) -> None:
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
    """A display whose lines also go into a log."""

    def __init__(self, display: Display, log: Callable[[str], object]) -> None:
        """`log` takes a line."""
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

    def say(self, text: str) -> None:
        for each in self._displays:
            each.say(text)

    def close(self) -> None:
        for each in self._displays:
            each.close()


def _start_line(event: Mapping[str, Any]) -> str:
    resumed = f", going on from step {event['resumed_from']:,}" if event["resumed_from"] else ""
    precision = f" in {event['precision']}" if "precision" in event else ""  # code of an older version says none
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
